//! The operators of COMPOSITE (canvas.md 11).

/// Porter-Duff operators. They say how much of source and destination stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PorterDuff {
    Clear,
    Src,
    Dst,
    Over,
    OverReverse,
    In,
    InReverse,
    Out,
    OutReverse,
    Atop,
    AtopReverse,
    Xor,
}

/// Blend modes that compute each channel on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Separable {
    Multiply,
    Screen,
    Overlay,
    Darken,
    Lighten,
    HardLight,
    Difference,
    Exclusion,
    ColorDodge,
    ColorBurn,
    SoftLight,
}

/// Blend modes on hue, saturation and luminosity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hsl {
    Hue,
    Saturation,
    Color,
    Luminosity,
}

/// How COMPOSITE combines source and destination. The numbers are those of the X Render extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    PorterDuff(PorterDuff),
    Add,
    Saturate,
    /// Source and destination cover different parts of a pixel as far as possible.
    Disjoint(PorterDuff),
    /// Source and destination cover the same part of a pixel as far as possible.
    Conjoint(PorterDuff),
    Blend(Separable),
    Hsl(Hsl),
}

impl Operator {
    /// The operator with this number; `None` for the gaps.
    #[must_use]
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0..=11 => Self::PorterDuff(porter_duff(number)?),
            12 => Self::Add,
            13 => Self::Saturate,
            0x10..=0x12 => Self::PorterDuff(porter_duff(number - 0x10)?),
            0x13..=0x1b => Self::Disjoint(porter_duff(number - 0x10)?),
            0x20..=0x22 => Self::PorterDuff(porter_duff(number - 0x20)?),
            0x23..=0x2b => Self::Conjoint(porter_duff(number - 0x20)?),
            0x30 => Self::Blend(Separable::Multiply),
            0x31 => Self::Blend(Separable::Screen),
            0x32 => Self::Blend(Separable::Overlay),
            0x33 => Self::Blend(Separable::Darken),
            0x34 => Self::Blend(Separable::Lighten),
            0x35 => Self::Blend(Separable::ColorDodge),
            0x36 => Self::Blend(Separable::ColorBurn),
            0x37 => Self::Blend(Separable::HardLight),
            0x38 => Self::Blend(Separable::SoftLight),
            0x39 => Self::Blend(Separable::Difference),
            0x3a => Self::Blend(Separable::Exclusion),
            0x3b => Self::Hsl(Hsl::Hue),
            0x3c => Self::Hsl(Hsl::Saturation),
            0x3d => Self::Hsl(Hsl::Color),
            0x3e => Self::Hsl(Hsl::Luminosity),
            _ => return None,
        })
    }

    /// The operator that is computed if the source is opaque everywhere. The choice affects rounding.
    #[must_use]
    pub(crate) fn for_opaque_source(self) -> Self {
        match self {
            Self::Saturate => Self::PorterDuff(PorterDuff::OverReverse),
            other => other,
        }
    }

    /// Whether no channel of the result, except alpha, depends on the destination's alpha.
    #[must_use]
    pub(crate) fn ignores_dest_alpha(self) -> bool {
        use PorterDuff::{Clear, Dst, Over, Src};
        matches!(self, Self::Add | Self::PorterDuff(Clear | Src | Dst | Over))
    }

    /// Whether the operator divides, and is therefore computed in floating point.
    #[must_use]
    pub(crate) fn is_wide(self) -> bool {
        match self {
            Self::PorterDuff(_) | Self::Add => false,
            Self::Saturate | Self::Disjoint(_) | Self::Conjoint(_) | Self::Hsl(_) => true,
            Self::Blend(mode) => {
                matches!(mode, Separable::ColorDodge | Separable::ColorBurn | Separable::SoftLight)
            }
        }
    }
}

fn porter_duff(number: u8) -> Option<PorterDuff> {
    Some(match number {
        0 => PorterDuff::Clear,
        1 => PorterDuff::Src,
        2 => PorterDuff::Dst,
        3 => PorterDuff::Over,
        4 => PorterDuff::OverReverse,
        5 => PorterDuff::In,
        6 => PorterDuff::InReverse,
        7 => PorterDuff::Out,
        8 => PorterDuff::OutReverse,
        9 => PorterDuff::Atop,
        10 => PorterDuff::AtopReverse,
        11 => PorterDuff::Xor,
        _ => return None,
    })
}
