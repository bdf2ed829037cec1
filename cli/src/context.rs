//! Which control plane a command talks to.
use std::path::PathBuf;

use clap::Args;
use weft_certs::join::Context;

use crate::failure::{Failure, While};

/// Names the context file: `--context`, else `WEFT_CONTEXT`, else `~/.config/weft/context.json`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ContextArguments {
    /// The context file that the control plane wrote (address, CA and admin token).
    #[arg(long, env = "WEFT_CONTEXT", value_name = "FILE", global = true)]
    pub(crate) context: Option<PathBuf>,
}

impl ContextArguments {
    /// Reads the context file.
    pub(crate) fn load(&self) -> Result<Context, Failure> {
        let file = match &self.context {
            Some(file) => file.clone(),
            None => default_file()?,
        };
        Context::load(&file).while_(format_args!("use the context {}", file.display())).map_err(|failure| {
            failure.hint("a control plane writes this file on its machine; name another with --context or WEFT_CONTEXT")
        })
    }
}

fn default_file() -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let folder = folder.ok_or_else(|| {
        Failure::new("there is no home folder to find a context in (neither XDG_CONFIG_HOME nor HOME is set)")
            .hint("name the file with --context")
    })?;
    Ok(folder.join("weft").join("context.json"))
}
