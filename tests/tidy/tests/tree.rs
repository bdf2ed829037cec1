//! The repository as files.
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/tidy lies two levels below the root").to_owned()
}

/// Every file below `folder` with that extension, sorted, without build output and hidden folders.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != "node_modules" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The text of a file.
pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// `path` from the root, for messages.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The Rust sources of the product: neither tests nor benches nor build scripts nor fuzz targets.
pub(crate) fn product_sources() -> Vec<PathBuf> {
    let parts = ["proto", "mesh", "certs", "proxy", "control-plane", "cli", "xtask"];
    let all = parts.iter().flat_map(|part| files(&root().join(part), "rs"));
    all.filter(|path| {
        let shown = shown(path);
        !shown.contains("/tests/")
            && !shown.contains("/benches/")
            && !shown.ends_with("/tests.rs")
            && !shown.ends_with("build.rs")
    })
    .collect()
}
