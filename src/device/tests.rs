use super::oracle::fuzz_device;
use proptest::prelude::*;

proptest! {
    #![proptest_config(crate::testing::cases(256))]
    #[test]
    fn nothing_is_lost_or_reordered(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_device(&data);
    }
}
