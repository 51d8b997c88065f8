//! The executables in one, told apart by the name of the file: a stage that starts another one finds it beside itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    let version = env!("CARGO_PKG_VERSION");
    let file = std::env::current_exe().unwrap_or_default();
    match file.file_stem().and_then(|stem| stem.to_str()) {
        Some("finetune") => stage::main("finetune", version, finetune::run),
        Some("evaluate") => stage::main("evaluate", version, evaluate::run),
        _ => ExitCode::FAILURE,
    }
}
