//! The executables in one, told apart by the name of the file: a stage that starts another one finds it beside itself.

fn main() {
    let version = env!("CARGO_PKG_VERSION");
    let file = std::env::current_exe().unwrap_or_default();
    torch_runtime::leave(match file.file_stem().and_then(|stem| stem.to_str()) {
        Some("finetune") => stage::status_of("finetune", version, finetune::run),
        Some("evaluate") => stage::status_of("evaluate", version, evaluate::run),
        _ => 1,
    })
}
