//! Every target over its corpus, and over seeded mutations of it: `WEFT_FUZZ_ROUNDS` a target.
use std::{env, fs, path::PathBuf, sync::Arc};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use weft_fuzz::{TARGETS, Target, wire_to_ir};
use weft_ir::{Dialect, MeshNames, ResourceType, View};
use weft_model::{ClusterName, Host, Owner, Stored, TrustDomain, decode::decode};
use weft_proxy::agent::LastGood;

/// Bytes that parsers treat in a special way.
const TOKENS: [&[u8]; 16] =
    [b"/", b"..", b"%2f", b"%2e", b"\\", b";", b"//", b"?", b"#", b"\0", b"\n", b": ", b"&a", b"*a", b"\xff", b"%00"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// The files of a folder, or one empty input where there is none.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder(name)).into_iter().flatten().flatten().map(|it| it.path()).collect();
    paths.sort();
    let mut seeds: Vec<_> = paths.iter().map(|path| fs::read(path).expect("a readable corpus file")).collect();
    if name == "yaml" {
        let examples = fs::read_dir(folder("../../../docs/examples")).expect("the examples' folder");
        seeds.extend(examples.map(|entry| fs::read(entry.expect("an entry").path()).expect("a readable example")));
    }
    assert!(!seeds.is_empty(), "the corpus {name} is empty");
    seeds
}

fn mutated(random: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds.choose(random).cloned().unwrap_or_default();
    for _ in 0..random.random_range(1..8) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => {
                bytes.remove(at);
            }
            2 => bytes.insert(at, random.random()),
            3 => {
                let token = TOKENS.choose(random).copied().unwrap_or_default();
                bytes.splice(at..at, token.iter().copied());
            }
            4 => bytes.truncate(at),
            _ => {
                let other = seeds.choose(random).cloned().unwrap_or_default();
                let from = random.random_range(0..=other.len());
                let end = (from + random.random_range(0..32)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
        }
    }
    bytes
}

fn attack(name: &str, target: Target, seeds: &[Vec<u8>]) {
    let rounds: u64 = env::var("WEFT_FUZZ_ROUNDS").ok().and_then(|it| it.parse().ok()).unwrap_or(2_000);
    seeds.iter().for_each(|seed| target(seed));
    let mut random = StdRng::seed_from_u64(0x7765_6674);
    let mut noise = vec![0; 64];
    for _ in 0..rounds {
        target(&mutated(&mut random, seeds));
        random.fill_bytes(&mut noise);
        target(&noise);
    }
    eprintln!("{name}: {} corpus files, {} mutations", seeds.len(), rounds);
}

fn target(name: &str) -> Target {
    TARGETS.into_iter().find(|(it, _)| *it == name).expect("a target of that name").1
}

#[test]
fn yaml_to_model_keeps_its_promises() {
    attack("yaml", target("yaml"), &seeds("yaml"));
}

#[test]
fn detection_keeps_its_promises() {
    attack("detection", target("detection"), &seeds("detection"));
}

#[test]
fn spiffe_id_keeps_its_promises() {
    attack("spiffe", target("spiffe"), &seeds("spiffe"));
}

#[test]
fn path_normalization_keeps_its_promises() {
    attack("path", target("path"), &seeds("path"));
}

/// Here mutations of paths alone, and each of them by policy: a million of each in the full form.
#[test]
fn policy_of_paths_keeps_its_promises() {
    attack("policy", target("policy"), &seeds("policy"));
}

#[test]
fn authority_normalization_keeps_its_promises() {
    attack("authority", target("authority"), &seeds("authority"));
}

#[test]
fn cookie_value_keeps_its_promises() {
    attack("cookie", target("cookie"), &seeds("cookie"));
}

#[test]
fn hop_fields_keeps_its_promises() {
    attack("hop", target("hop"), &seeds("hop"));
}

#[test]
fn join_file_keeps_its_promises() {
    attack("join", target("join"), &seeds("join"));
}

#[test]
fn h1_request_keeps_its_promises() {
    attack("h1-request", target("h1-request"), &seeds("h1-request"));
}

#[test]
fn h1_response_keeps_its_promises() {
    attack("h1-response", target("h1-response"), &seeds("h1-response"));
}

#[test]
fn h1_chunks_keeps_its_promises() {
    attack("h1-chunks", target("h1-chunks"), &seeds("h1-chunks"));
}

#[test]
fn h2_head_keeps_its_promises() {
    attack("h2-head", target("h2-head"), &seeds("h2-head"));
}

#[test]
fn h2_trailers_keeps_its_promises() {
    attack("h2-trailers", target("h2-trailers"), &seeds("h2-trailers"));
}

#[test]
fn grpc_web_text_keeps_its_promises() {
    attack("grpc-web", target("grpc-web"), &seeds("grpc-web"));
}

/// Beside the corpus: what the examples compile to, as it is kept.
#[test]
fn kept_file_keeps_its_promises() {
    let compiler = compiled();
    let version = weft_xds::Version::parse("0123456789abcdef").expect("a version");
    let resources = compiler.keys().filter_map(|key| Some((version.clone(), compiler.resource(key)?.clone())));
    let last_good = LastGood { revision: "e/all=1".to_owned(), resources: resources.collect() };
    let content = last_good.encode();
    let kept = LastGood::decode(&content).expect("what was kept");
    assert!(!kept.resources.is_empty());
    attack("kept", target("kept"), &[seeds("kept"), vec![content]].concat());
}

/// The examples, compiled.
fn compiled() -> weft_compile::Compiler {
    let names = MeshNames {
        trust_domain: TrustDomain::default_domain(),
        mesh_domain: Host::default_mesh_domain(),
        cluster: ClusterName::local(),
    };
    let mut compiler = weft_compile::Compiler::new(names);
    for text in seeds("yaml") {
        let decoded = decode("corpus.yaml", &String::from_utf8_lossy(&text));
        compiler.apply(decoded.objects.into_iter().map(|(object, source)| {
            let stored = Stored { object, owner: Owner::api(), created: 1, modified: 1, source: Some(source) };
            (stored.object.reference(), Some(Arc::new(stored)))
        }));
    }
    compiler
}

/// The seeds are what the examples compile to: files of encoded messages would go stale with the format.
#[test]
fn wire_to_ir_keeps_its_promises() {
    let compiler = compiled();
    let view = View { dialect: Dialect::Weft };
    let seeds: Vec<_> = compiler
        .keys()
        .filter_map(|key| {
            let encoded = weft_xds::encode(compiler.resource(key)?, &view);
            let choice = ResourceType::ALL.iter().position(|it| *it == key.resource_type)?;
            let mut seed = vec![u8::try_from(choice).ok()?];
            seed.extend_from_slice(key.name.as_bytes());
            seed.push(0);
            seed.extend_from_slice(&encoded.bytes);
            Some(seed)
        })
        .collect();
    assert!(seeds.len() > 8, "the examples compile to {} resources", seeds.len());
    attack("wire", wire_to_ir, &seeds);
}
