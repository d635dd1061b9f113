//! Loads a relay server and measures what that costs it: a plan on stdin, figures on stdout, both one line of JSON.
//! It fails when a message is lost, doubled, out of order or not what was sent.

mod client;
mod clock;
mod crowd;
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
