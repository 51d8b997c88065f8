//! Lets this package's executables and tests find LibTorch.

fn main() -> Result<(), torch_link::LinkError> {
    torch_link::link()
}
