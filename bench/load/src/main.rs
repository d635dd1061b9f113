//! Loads a relay server and measures its cost. Reads a plan from stdin and prints the figures, each as one line of JSON.
//! Fails if a message is lost, duplicated, reordered or changed.

mod client;
mod client_pool;
mod clock;
mod link;
mod measure;
mod plan;
mod text;
mod timer;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let plan: plan::Plan = serde_json::from_reader(std::io::stdin().lock()).context("the plan")?;
    let figures = measure::measure(&plan)?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
