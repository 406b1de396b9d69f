//! Blending onto guest memory. The code reads and writes each byte once; the compiler is not bound to that, which costs at
//! most a wrong pixel (see the head of the [module](super)).

use super::raw::{copy, read, write};
use spice_server_core::blend::{Cover, GRANULE, over_bytes};

/// Draws premultiplied b, g, r, a pixels times `alpha` over those at `to`, whole pixels only.
///
/// # Safety
/// `to` is valid for reads and writes of `pixels.len()` bytes; others may change them meanwhile.
pub(super) unsafe fn over(to: *mut u8, pixels: &[u8], alpha: u8) {
    for (n, part) in pixels.chunks(GRANULE).enumerate() {
        // SAFETY: the caller's promise; parts lie where their pixels do.
        unsafe {
            let to = to.add(n * GRANULE);
            match Cover::of(part, alpha) {
                Cover::Nothing => {}
                Cover::Everything => copy(part.as_ptr(), to, part.len()),
                Cover::Some => over_granule(to, part, alpha),
            }
        }
    }
}

/// # Safety
/// As [`over`].
unsafe fn over_granule(to: *mut u8, pixels: &[u8], alpha: u8) {
    #[cfg(target_arch = "x86_64")]
    let done = if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what it needs, and the caller's promise.
        unsafe { wide::over(to, pixels, alpha) }
    } else {
        0
    };
    #[cfg(not(target_arch = "x86_64"))]
    let done = 0;
    let rest = &pixels[done..];
    if rest.is_empty() {
        return;
    }
    let mut buffer = [0; GRANULE];
    let under = &mut buffer[..rest.len()];
    // SAFETY: the caller's promise.
    unsafe {
        read(to.add(done), under);
        over_bytes(under, rest, alpha);
        write(under, to.add(done));
    }
}

/// For processors with AVX2.
#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    const VECTOR: usize = size_of::<__m256i>();

    /// Blends whole vectors; gives the bytes that are done.
    ///
    /// # Safety
    /// `to` is valid for reads and writes of `pixels.len()` bytes.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn over(to: *mut u8, pixels: &[u8], alpha: u8) -> usize {
        let (vectors, _) = pixels.as_chunks::<VECTOR>();
        let factor = _mm256_set1_epi16(alpha.into());
        for (n, pixels) in vectors.iter().enumerate() {
            // SAFETY: an array of this size; loads and stores need no alignment.
            let s = unsafe { _mm256_loadu_si256(pixels.as_ptr().cast()) };
            let s = if alpha == 255 { s } else { scale(s, factor) };
            // SAFETY: the caller's promise: as many vectors are at `to`.
            unsafe {
                let to = to.add(n * VECTOR).cast();
                _mm256_storeu_si256(to, over_vector(s, _mm256_loadu_si256(to)));
            }
        }
        vectors.len() * VECTOR
    }

    /// Eight pixels over others.
    #[target_feature(enable = "avx2")]
    fn over_vector(s: __m256i, d: __m256i) -> __m256i {
        // What remains of the destination, for both 16-bit lanes of each pixel.
        let remains = _mm256_srli_epi32::<24>(_mm256_xor_si256(s, _mm256_set1_epi8(-1)));
        let remains = _mm256_or_si256(remains, _mm256_slli_epi32::<16>(remains));
        _mm256_adds_epu8(s, scale(d, remains))
    }

    /// Both bytes of each 16-bit lane times the factor of the lane over 255, rounded.
    #[target_feature(enable = "avx2")]
    fn scale(v: __m256i, factor: __m256i) -> __m256i {
        let low = _mm256_mullo_epi16(_mm256_and_si256(v, _mm256_set1_epi16(0xff)), factor);
        let high = _mm256_mullo_epi16(_mm256_srli_epi16::<8>(v), factor);
        _mm256_or_si256(div_255(low), _mm256_slli_epi16::<8>(div_255(high)))
    }

    /// `v / 255`, rounded, of products of two bytes.
    #[target_feature(enable = "avx2")]
    fn div_255(v: __m256i) -> __m256i {
        let rounded = _mm256_add_epi16(v, _mm256_set1_epi16(128));
        _mm256_mulhi_epu16(rounded, _mm256_set1_epi16(0x101))
    }
}
