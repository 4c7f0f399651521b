use std::process::ExitCode;

fn main() -> ExitCode {
    cloud_root::cli::main()
}
