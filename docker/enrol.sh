#!/bin/sh
# enrol REGION:DEVICE[,DEVICE…] …
#
# Makes the homes of a root, of each region's fog and of each device below /homes, by the commands that a
# user gives, with certificates for the devices' way to their fog, and enters all of them in the roster.
# A member is in the roster only when its home is whole: run again, this goes on where it was interrupted
# and changes nothing that is done.
set -eu
umask 077

HOMES=/homes
# Each region has an authority of its own. Only this volume holds its key.
AUTHORITIES=/authorities
ROOT=$HOMES/root
# The user of every image.
OWNER=10001:10001
BROKER_PORT=8883
CERTIFICATE_DAYS=825

say() { printf 'enrol: %s\n' "$*"; }

# What stands behind a label in a command's output.
labelled() {
    found=$(printf '%s\n' "$2" | sed -n "s/^$1: //p")
    [ -n "$found" ] || { say "no \"$1\" in: $2" >&2; exit 1; }
    printf '%s\n' "$found"
}

begin_anew() {
    [ -d "$1" ] || { say "no volume is mounted on $1: compare the arguments with compose.yaml" >&2; exit 1; }
    find "$1" -mindepth 1 -delete
}

make_root() {
    [ -s "$ROOT/public-key" ] && return
    begin_anew "$ROOT"
    printed=$(cloud-root init --home "$ROOT" --nats nats://nats:4222)
    labelled 'root public key' "$printed" >"$ROOT/public-key.new"
    mv "$ROOT/public-key.new" "$ROOT/public-key"
    say "made the root"
}

# -c and not -q: grep then reads to the end, and nobody writes into a closed pipe.
is_enrolled() { [ "$(cloud-root roster list --home "$ROOT" | grep -c "^$1 ")" -gt 0 ]; }

# NAME REGION ROLE, and what its init command printed.
enrol() {
    key=$(labelled 'public key' "$4")
    cloud-root roster add "$1" "$key" --role "$3" --region "$2" --home "$ROOT"
}

make_authority() {
    [ -s "$AUTHORITIES/$1.pem" ] && return
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$CERTIFICATE_DAYS" \
        -subj "/CN=authority of region $1" \
        -keyout "$AUTHORITIES/$1-key.pem" -out "$AUTHORITIES/$1.pem.new" 2>/dev/null
    mv "$AUTHORITIES/$1.pem.new" "$AUTHORITIES/$1.pem"
}

# NAME REGION serverAuth|clientAuth HOME: ca.pem, tls.pem and tls-key.pem.
make_certificate() {
    authority=$AUTHORITIES/$2
    scratch=$(mktemp -d)
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$4/tls-key.pem" -out "$scratch/request.pem" 2>/dev/null
    printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=DNS:%s\n' "$3" "$1" \
        >"$scratch/extensions"
    openssl x509 -req -in "$scratch/request.pem" -CA "$authority.pem" -CAkey "$authority-key.pem" \
        -set_serial "0x$(openssl rand -hex 16)" -days "$CERTIFICATE_DAYS" \
        -extfile "$scratch/extensions" -out "$4/tls.pem" 2>/dev/null
    cp "$authority.pem" "$4/ca.pem"
    rm -r "$scratch"
}

make_fog() {
    name=fog-$1
    is_enrolled "$name" && return
    begin_anew "$HOMES/$name"
    printed=$(fog-aggregator init --home "$HOMES/$name" --name "$name" --region "$1" \
        --root-key "$root_key" --nats nats://nats:4222 --listen "0.0.0.0:$BROKER_PORT")
    make_certificate "$name" "$1" serverAuth "$HOMES/$name"
    enrol "$name" "$1" fog "$printed"
}

make_device() {
    is_enrolled "$2" && return
    begin_anew "$HOMES/$2"
    printed=$(edge-agent init --home "$HOMES/$2" --name "$2" --region "$1" --root-key "$root_key" \
        --broker "mqtts://fog-$1:$BROKER_PORT" --data /data/readings.csv.gz)
    make_certificate "$2" "$1" clientAuth "$HOMES/$2"
    enrol "$2" "$1" device "$printed"
}

[ $# -gt 0 ] || { say "no region: give REGION:DEVICE,DEVICE" >&2; exit 1; }
make_root
root_key=$(cat "$ROOT/public-key")
for argument; do
    region=${argument%%:*}
    make_authority "$region"
    make_fog "$region"
    for device in $(printf '%s' "${argument#*:}" | tr ',' ' '); do
        make_device "$region" "$device"
    done
done
chown -R "$OWNER" "$HOMES"
say "everybody is enrolled"
