//! TCP through the mesh.
use std::time::Duration;

use super::{Found, figure};
use crate::{
    demo::{mesh::Mesh, service::stock, until},
    failure::{Failure, While},
};

const BYTES: usize = 1 << 20;

/// Sends a mebibyte through the mesh and compares what comes back after the client's half-close; then lets the server
/// close its half first and counts what still reaches it.
pub(super) async fn both_ways(mesh: &Mesh) -> Found {
    let address = mesh.instance("catalog-0")?.bound.tcp("shop/stock:9000");
    let address = address.ok_or_else(|| Failure::new("catalog's sidecar has no listener for stock"))?;
    let sent = noise();
    let returned = stock::ask(address, "echo", &sent).await.while_("talk to stock")?;
    stock::drain(address, &sent).await.while_("talk to stock after it closed its half")?;
    let mut taken = String::new();
    let whole = until(Duration::from_secs(5), async || {
        let answer = stock::ask(address, "drained", &[]).await.ok()?;
        taken = String::from_utf8_lossy(&answer).into_owned();
        (taken == sent.len().to_string()).then_some(())
    });
    let whole = whole.await.is_some();
    let text = format!(
        "{} of {BYTES} bytes came back as sent after the client's half-close; {taken} of {BYTES} arrived after the server's",
        if returned == sent { BYTES } else { returned.iter().zip(&sent).take_while(|(a, b)| a == b).count() },
    );
    figure(whole && returned == sent, text)
}

/// Bytes that neither repeat nor compress: Marsaglia's xorshift.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(BYTES).collect()
}
