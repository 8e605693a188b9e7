//! Placeholder while the rest is wired.
pub fn run(_: &crate::args::DemoArgs) -> anyhow::Result<()> { Ok(()) }
