//! Encoded images shared between the clients of one device: LZ, QUIC, LZ4, JPEG and raw bytes of an image do not
//! depend on the client (display.md 18.13). Kept only while the image itself lives, and within a bound of bytes.

use crate::geometry::Rect;
use crate::image::{Image, Palette};
use crate::limits::MAX_SHARED_ENCODES;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

/// A client-independent coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    Raw,
    Quic,
    Lz,
    Lz4,
    /// JPEG, or JPEG with an alpha plane for images that have one.
    Jpeg,
}

/// A compressed image.
#[derive(Clone, Debug)]
pub(crate) struct EncodedImage {
    /// What it became: the coding asked for, or raw where that did not pay.
    pub coding: Coding,
    pub data: Arc<Vec<u8>>,
    /// For JPEG with an alpha plane: bytes of the JPEG part.
    pub jpeg_size: Option<u32>,
    /// The palette to send instead of the bitmap's own, which is too short for its pixels.
    pub padded: Option<Arc<Palette>>,
}

impl EncodedImage {
    /// An image without data.
    pub(super) fn empty() -> Self {
        Self { coding: Coding::Raw, data: Arc::default(), jpeg_size: None, padded: None }
    }
}

type Key = (usize, Coding);

/// How an image is cut into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// For several threads.
    Bands,
    /// For several codecs.
    Areas,
}

/// A part of an image: where it lies in the image, and the image of it.
pub(super) type Part = (Rect, Arc<Image>);

/// Images whose parts are kept at a time.
const MAX_PARTED: usize = 8;

/// A bounded store of images that were encoded for one client and may be sent to others of the same device.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    /// Whether there is more than one client to share with.
    enabled: bool,
    entries: HashMap<Key, (Weak<Image>, EncodedImage)>,
    /// Oldest first.
    order: VecDeque<Key>,
    bytes: usize,
    /// Images that were cut into parts, oldest first.
    parts: VecDeque<(Weak<Image>, Cut, Vec<Part>)>,
}

impl Memo {
    /// Tells how many clients the device has; with one there is nothing to share.
    pub(crate) fn set_clients(&mut self, clients: usize) {
        self.enabled = clients > 1;
        if !self.enabled {
            self.entries.clear();
            self.order.clear();
            self.parts.clear();
            self.bytes = 0;
        }
    }

    /// The parts that `cut` makes of an image. With several clients each gets the same ones, so that they share results.
    pub(super) fn parts(
        &mut self,
        image: &Arc<Image>,
        how: Cut,
        cut: impl FnOnce() -> Vec<Part>,
    ) -> Vec<Part> {
        if !self.enabled {
            return cut();
        }
        self.parts.retain(|(whole, ..)| whole.strong_count() > 0);
        let same = |(whole, as_here, _): &&(Weak<Image>, Cut, _)| {
            *as_here == how && whole.as_ptr() == Arc::as_ptr(image)
        };
        if let Some((.., parts)) = self.parts.iter().find(same) {
            return parts.clone();
        }
        let parts = cut();
        if self.parts.len() >= MAX_PARTED {
            self.parts.pop_front();
        }
        self.parts.push_back((Arc::downgrade(image), how, parts.clone()));
        parts
    }

    fn key(image: &Arc<Image>, coding: Coding) -> Key {
        // The weak reference in the entry keeps the address from being used again.
        (Arc::as_ptr(image).addr(), coding)
    }

    /// The image in this coding, if it was encoded before.
    #[must_use]
    pub(crate) fn get(&self, image: &Arc<Image>, coding: Coding) -> Option<EncodedImage> {
        self.entries.get(&Self::key(image, coding)).map(|(_, coded)| coded.clone())
    }

    /// Keeps the result of encoding `image` in `coding`.
    pub(crate) fn put(&mut self, image: &Arc<Image>, coding: Coding, coded: &EncodedImage) {
        if !self.enabled || coded.data.len() > MAX_SHARED_ENCODES / 4 {
            return;
        }
        let key = Self::key(image, coding);
        if self.entries.insert(key, (Arc::downgrade(image), coded.clone())).is_none() {
            self.order.push_back(key);
        }
        self.bytes += coded.data.len();
        while let Some(&oldest) = self.order.front() {
            let dead = self.entries.get(&oldest).is_none_or(|(image, _)| image.strong_count() == 0);
            if !dead && self.bytes <= MAX_SHARED_ENCODES {
                break;
            }
            self.order.pop_front();
            if let Some((_, coded)) = self.entries.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(coded.data.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageData;

    fn image() -> Arc<Image> {
        Arc::new(Image {
            id: 1,
            cache_me: false,
            high_bits_set: false,
            width: 1,
            height: 1,
            data: ImageData::Surface(0),
        })
    }

    fn coded(len: usize) -> EncodedImage {
        EncodedImage { data: Arc::new(vec![0; len]), ..EncodedImage::empty() }
    }

    #[test]
    fn nothing_is_kept_for_a_single_client() {
        let mut memo = Memo::default();
        let image = image();
        memo.put(&image, Coding::Lz, &coded(9));
        assert!(memo.get(&image, Coding::Lz).is_none());
        memo.set_clients(2);
        memo.put(&image, Coding::Lz, &coded(9));
        assert!(memo.get(&image, Coding::Lz).is_some());
        assert!(memo.get(&image, Coding::Quic).is_none());
        memo.set_clients(1);
        assert!(memo.get(&image, Coding::Lz).is_none());
    }

    #[test]
    fn parts_are_shared_while_the_image_lives() {
        fn first(memo: &mut Memo, whole: &Arc<Image>) -> Arc<Image> {
            memo.parts(whole, Cut::Bands, || vec![(Rect::of_size(1, 1), image())]).remove(0).1
        }
        let mut memo = Memo::default();
        let whole = image();
        assert!(!Arc::ptr_eq(&first(&mut memo, &whole), &first(&mut memo, &whole)));
        memo.set_clients(2);
        let part = first(&mut memo, &whole);
        assert!(Arc::ptr_eq(&part, &first(&mut memo, &whole)));
        drop(whole);
        assert!(memo.parts(&image(), Cut::Areas, Vec::new).is_empty());
        let other = image();
        assert!(!Arc::ptr_eq(&part, &first(&mut memo, &other)));
        assert_eq!(memo.parts.len(), 1);
        for _ in 0..2 * MAX_PARTED {
            first(&mut memo, &image());
        }
        assert!(memo.parts.len() <= MAX_PARTED);
    }

    #[test]
    fn dead_images_and_excess_bytes_leave() {
        let mut memo = Memo::default();
        memo.set_clients(2);
        memo.put(&image(), Coding::Lz, &coded(1000));
        let live: Vec<_> = (0..6).map(|_| image()).collect();
        for image in &live {
            memo.put(image, Coding::Lz, &coded(MAX_SHARED_ENCODES / 4));
        }
        assert!(memo.bytes <= MAX_SHARED_ENCODES);
        assert!(memo.get(&live[5], Coding::Lz).is_some());
        assert!(memo.get(&live[0], Coding::Lz).is_none());
        assert_eq!(memo.entries.len(), memo.order.len());
    }
}
