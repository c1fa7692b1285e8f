//! The characters that pictures are made of.

/// Eight heights and four shades, each beginning with the least that is not nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyphs {
    heights: [char; 8],
    shades: [char; 4],
}

impl Glyphs {
    /// Block elements, which every font for terminals has.
    pub const BLOCKS: Self = Self {
        heights: ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
        shades: ['░', '▒', '▓', '█'],
    };

    /// What a serial console and the kernel's own console can show.
    pub const ASCII: Self = Self {
        heights: ['_', '.', ',', '-', '=', '+', '*', '#'],
        shades: ['.', ':', '*', '#'],
    };

    /// A height for a part of the most there is; a blank for nothing.
    #[must_use]
    pub fn height(self, part: u64, most: u64) -> char {
        pick(&self.heights, part, most)
    }

    /// A shade for a part of the most there is; a blank for nothing.
    #[must_use]
    pub fn shade(self, part: u64, most: u64) -> char {
        pick(&self.shades, part, most)
    }
}

fn pick(glyphs: &[char], part: u64, most: u64) -> char {
    if part == 0 {
        return ' ';
    }
    let steps = glyphs.len() as u128;
    let step = (u128::from(part) * steps).div_ceil(u128::from(most.max(1)));
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    glyphs[step.clamp(1, glyphs.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_never_nothing_and_all_is_the_last() {
        let heights = [0, 1, 125, 126, 999, 1_000, 5_000];
        let drawn = heights.map(|part| Glyphs::BLOCKS.height(part, 1_000));
        assert_eq!(drawn.iter().collect::<String>(), " ▁▁▂███");
        assert_eq!(Glyphs::ASCII.shade(1, u64::MAX), '.');
        assert_eq!(Glyphs::ASCII.shade(u64::MAX, u64::MAX), '#');
        assert_eq!(Glyphs::ASCII.shade(3, 0), '#');
    }
}
