//! The device that tests run on, and tensors from golden files.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::golden::Case;

/// The device named by `ASCRIBE_DEVICE` (`flex` when unset).
pub fn device() -> Device {
    match std::env::var("ASCRIBE_DEVICE").as_deref() {
        Err(_) | Ok("flex") => Device::flex(),
        #[cfg(feature = "wgpu")]
        Ok("wgpu") => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        Ok(other) => panic!("ASCRIBE_DEVICE={other} is not compiled into these tests"),
    }
}

/// The precisions that the device has.
pub fn precisions() -> &'static [DType] {
    match std::env::var("ASCRIBE_DEVICE").as_deref() {
        Err(_) | Ok("flex") => &[DType::F32, DType::F64],
        _ => &[DType::F32],
    }
}

/// A float tensor of this shape and precision.
pub fn floats<const D: usize>(values: &[f64], shape: [usize; D], device: &Device, dtype: DType) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, dtype))
}

/// An integer tensor.
pub fn integers<const D: usize>(values: &[i64], shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// A float tensor from a golden file, with the file's shape.
pub fn golden_floats<const D: usize>(case: &Case, device: &Device, dtype: DType) -> Tensor<D> {
    floats(&case.numbers(), dims(case), device, dtype)
}

/// An integer tensor from a golden file, with the file's shape.
pub fn golden_integers<const D: usize>(case: &Case, device: &Device) -> Tensor<D, Int> {
    integers(&case.integers(), dims(case), device)
}

/// Rows of flags from a golden mask.
pub fn golden_flags(case: &Case) -> Vec<Vec<bool>> {
    let [_, seq] = dims(case);
    case.numbers().chunks(seq.max(1)).map(|row| row.iter().map(|flag| *flag != 0.0).collect()).collect()
}

/// The values of a tensor, widened.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_to_vec().expect("a float tensor has float values")
}

fn dims<const D: usize>(case: &Case) -> [usize; D] {
    let shape = case.shape();
    let got = shape.len();
    shape.try_into().unwrap_or_else(|_| panic!("{} has {got} dimensions, not {D}", case.name()))
}
