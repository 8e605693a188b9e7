//! Devices by name: the one place in this crate that names a backend.

use ascribe::burn::tensor::Device;

/// The device `name`: `flex`, `wgpu`, `cuda` or `cuda:N`.
pub fn device(name: &str) -> anyhow::Result<Device> {
    let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
    let number: usize =
        number.parse().map_err(|_| anyhow::anyhow!("the device number in `{name}` must be whole; use cuda:0"))?;
    let _ = number; // only some builds have numbered devices
    match kind {
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(ascribe::burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(number)),
        #[allow(unreachable_patterns, reason = "a build may have all of them")]
        "flex" | "wgpu" | "cuda" => {
            anyhow::bail!("this build has no device `{kind}`; build it with `--features {kind}`")
        }
        _ => anyhow::bail!("there is no device `{name}`; the devices are flex, wgpu, cuda and cuda:N"),
    }
}
