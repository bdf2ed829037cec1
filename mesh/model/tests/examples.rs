//! The documented examples are read without a finding.
use std::{fs, path::Path};

use weft_model::{Kind, decode};

#[test]
fn each_kind_has_an_example_that_is_read_without_a_finding() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    for kind in Kind::ALL {
        let name = format!("{}.yaml", kind.as_str().to_lowercase());
        let decoded = decode(&name, &fs::read_to_string(folder.join(&name)).unwrap());
        assert!(decoded.diagnostics.is_empty(), "{:#?}", decoded.diagnostics);
        assert!(!decoded.objects.is_empty());
        for (object, source) in &decoded.objects {
            assert_eq!(object.kind(), kind, "{name}:{}", source.line);
        }
    }
}
