//! The font of the pictures: Debian's, fetched once.

use std::fs;

use ab_glyph::{Font as _, FontVec, PxScale, ScaleFont as _, point};
use anyhow::{Context, Result};

use crate::apt::{BY_HAND, Reach, Suite};
use crate::{install, workspace};

const SUITE: &str = "trixie";
const PACKAGE: &str = "fonts-dejavu-mono";
const FOLDER: &str = "usr/share/fonts/truetype/dejavu";

/// Pixels of a line: those of a letter follow from it.
const HEIGHT: f32 = 18.0;

/// Two weights of one font, at one size.
pub struct Font {
    regular: FontVec,
    bold: FontVec,
    /// Pixels of a cell.
    pub cell: (usize, usize),
}

impl Font {
    /// Reads the font, which is fetched before if it has to be.
    pub fn load() -> Result<Self> {
        let root = workspace::tools("font");
        install::folder(&root, PACKAGE, |part| {
            Suite::open(SUITE)?.unpack("a font", &[PACKAGE], Reach::Named, part)
        })
        .with_context(|| install::missing("a font", "pictures are drawn with it", BY_HAND))?;
        let read = |name: &str| {
            let path = root.join(FOLDER).join(name);
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            FontVec::try_from_vec(bytes).with_context(|| format!("read {}", path.display()))
        };
        let regular = read("DejaVuSansMono.ttf")?;
        let scaled = regular.as_scaled(PxScale::from(HEIGHT));
        let width = scaled.h_advance(scaled.glyph_id('0'));
        Ok(Self {
            cell: (pixels(width), pixels(scaled.height())),
            bold: read("DejaVuSansMono-Bold.ttf")?,
            regular,
        })
    }

    /// Calls for every pixel of a letter with its place in the cell and how much of it is covered.
    pub fn draw(&self, letter: char, is_bold: bool, mut put: impl FnMut(usize, usize, f32)) {
        let font = if is_bold { &self.bold } else { &self.regular };
        let scaled = font.as_scaled(PxScale::from(HEIGHT));
        let glyph = scaled
            .glyph_id(letter)
            .with_scale_and_position(PxScale::from(HEIGHT), point(0.0, scaled.ascent()));
        let Some(outline) = font.outline_glyph(glyph) else {
            return;
        };
        let bounds = outline.px_bounds();
        outline.draw(|x, y, cover| {
            let at = |first: f32, offset: u32| {
                usize::try_from(i64::from(floor(first)) + i64::from(offset)).ok()
            };
            if let (Some(x), Some(y)) = (at(bounds.min.x, x), at(bounds.min.y, y)) {
                put(x, y, cover);
            }
        });
    }
}

#[expect(clippy::cast_possible_truncation, reason = "pixels of a cell")]
fn floor(pixels: f32) -> i32 {
    pixels.floor() as i32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixels of a cell"
)]
fn pixels(length: f32) -> usize {
    length.round().max(1.0) as usize
}
