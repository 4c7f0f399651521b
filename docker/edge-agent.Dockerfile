# A device's agent: docker build -f docker/edge-agent.Dockerfile -t tributary/edge-agent:local .
#
# The first two stages are the same text in every Dockerfile here, so their layers are made once; a test
# compares them. Nothing needs BuildKit.

FROM rust:1.95.0-slim-bookworm AS sources
WORKDIR /src
COPY . .
# /skeleton: manifests and empty crates, all that the layer of compiled dependencies depends on.
RUN rm -rf docker \
    && mkdir /skeleton \
    && cp -r Cargo.lock .cargo /skeleton/ \
    && find . \( -name Cargo.toml -o -name lib.rs -o -name main.rs -o -regex '.*/tests/[^/]*\.rs' \) \
        -exec cp --parents {} /skeleton/ \; \
    && for file in $(find /skeleton -name '*.rs'); do echo 'fn main() {}' >"$file"; done

FROM rust:1.95.0-slim-bookworm AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
# A profile of Cargo.toml: dev builds fastest, dist makes the smallest programs.
ARG PROFILE=release
ENV MEMBERS="-p cloud-root -p fog-aggregator -p edge-agent -p xtask"
WORKDIR /src
COPY --from=sources /skeleton ./
RUN cargo build --locked --profile "$PROFILE" --bins $MEMBERS
COPY --from=sources /src ./
# cargo goes by times: the sources are older than the empty crates that were compiled in their place.
# Not so what build scripts of dependencies wrote: touched, it would have most of them compiled again.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && cargo build --locked --profile "$PROFILE" --bins $MEMBERS \
    && mkdir -p /out/bin \
    && cd "target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")" \
    && cp cloud-root fog-aggregator edge-agent xtask /out/bin/
# ONNX Runtime by its pinned version and SHA-256, as `cargo xtask fetch` brings it everywhere.
RUN /out/bin/xtask fetch \
    && mkdir /out/onnxruntime \
    && cp .tools/onnxruntime-*/LICENSE .tools/onnxruntime-*/ThirdPartyNotices.txt /out/onnxruntime/ \
    && cp .tools/onnxruntime-*/libonnxruntime.so.* /out/onnxruntime/libonnxruntime.so

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Tributary edge-agent" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --no-log-init --no-create-home \
        --home-dir /var/lib/edge-agent --shell /usr/sbin/nologin tributary \
    && install -d -o tributary -g tributary -m 0700 /var/lib/edge-agent
COPY --from=build /out/onnxruntime /opt/onnxruntime
COPY --from=build /out/bin/edge-agent /usr/local/bin/
ENV ORT_DYLIB_PATH=/opt/onnxruntime/libonnxruntime.so
USER 10001:10001
VOLUME /var/lib/edge-agent
ENTRYPOINT ["edge-agent"]
CMD ["run", "--home", "/var/lib/edge-agent"]
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s --retries=3 \
    CMD ["edge-agent", "check", "--home", "/var/lib/edge-agent"]
