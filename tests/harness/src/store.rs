//! What may happen to a control plane's store while it is stopped.
use std::{fs, io, path::Path};

use anyhow::Result;
use weft_store::{ExpectedValue, Redb, State, StateChange, Table};

/// The tables that a mesh needs to be the same mesh: its CA, its admin token, what its workloads may be.
const TABLES: [Table; 5] = [Table::Authority, Table::Tokens, Table::Settings, Table::Audit, Table::Grants];

/// Makes the files of the folder `dir` those of the folder `with`, as a restored copy does.
///
/// # Errors
/// What the system says.
pub fn replace(dir: &Path, with: &Path) -> io::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    for entry in fs::read_dir(with)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), dir.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Makes the store in `dir` another one of another epoch, without objects, that is still of the same mesh: the CA, the
/// tokens and what workloads may be are those it had.
///
/// # Errors
/// What the store says.
pub async fn empty(dir: &Path) -> Result<()> {
    let fresh = dir.with_extension("fresh");
    let (former, other) = (Redb::open(dir)?, Redb::open(&fresh)?);
    for table in TABLES {
        let entries = former.scan(table, "", 100_000).await?;
        let changes = entries.into_iter().map(|entry| StateChange {
            table,
            key: entry.key,
            expected: ExpectedValue::Absent,
            value: Some(entry.value),
        });
        other.change(changes.collect()).await?;
    }
    former.close().await;
    other.close().await;
    fs::remove_dir_all(dir)?;
    Ok(fs::rename(fresh, dir)?)
}
