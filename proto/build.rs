//! Generates Rust from weft's own `.proto` files; protox parses them, so that no `protoc` is needed.
use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 4] =
    ["weft/v1/agent.proto", "weft/v1/certificate.proto", "weft/v1/metadata.proto", "weft/demo/v1/prices.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=weft");
    let descriptors = protox::Compiler::new(["."])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES)?
        .file_descriptor_set();
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("weft.fds"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
