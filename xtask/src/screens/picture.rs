//! A terminal's screen as a PNG.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use vt100::Color;

use super::font::Font;

/// Steps between a letter and what is behind it: enough for the eye, and few colours for the file.
const STEPS: f32 = 8.0;

/// Pixels around the text.
const MARGIN: usize = 8;

/// The colours of a terminal.
#[derive(Clone, Copy)]
pub enum Colours {
    /// On a dark background.
    Dark,
    /// On a light one.
    Light,
}

/// Red, green and blue.
type Pixel = [u8; 3];

impl Colours {
    /// Of letters, and of what is behind them.
    const fn default(self) -> (Pixel, Pixel) {
        match self {
            Self::Dark => ([0xd0, 0xd0, 0xd0], [0x16, 0x18, 0x1c]),
            Self::Light => ([0x24, 0x29, 0x2e], [0xff, 0xff, 0xff]),
        }
    }

    /// The first sixteen, as most terminals have them.
    const fn named(self) -> [Pixel; 8] {
        match self {
            Self::Dark => [
                [0x16, 0x18, 0x1c],
                [0xff, 0x6b, 0x6b],
                [0x7e, 0xc6, 0x99],
                [0xe5, 0xc0, 0x7b],
                [0x61, 0xaf, 0xef],
                [0xc6, 0x78, 0xdd],
                [0x56, 0xb6, 0xc2],
                [0xd0, 0xd0, 0xd0],
            ],
            Self::Light => [
                [0x24, 0x29, 0x2e],
                [0xc8, 0x10, 0x2e],
                [0x1a, 0x7f, 0x37],
                [0x95, 0x38, 0x00],
                [0x05, 0x50, 0xae],
                [0x82, 0x50, 0xdf],
                [0x1b, 0x7c, 0x83],
                [0x6e, 0x77, 0x81],
            ],
        }
    }

    fn pixel(self, colour: Color, default: Pixel) -> Pixel {
        match colour {
            Color::Default => default,
            Color::Rgb(red, green, blue) => [red, green, blue],
            Color::Idx(number @ 0..16) => self.named()[usize::from(number % 8)],
            Color::Idx(number @ 16..232) => {
                // A cube of six steps for each.
                let step = |part: u8| if part == 0 { 0 } else { 55 + part * 40 };
                let number = number - 16;
                [step(number / 36), step(number / 6 % 6), step(number % 6)]
            }
            Color::Idx(number) => [8 + (number - 232) * 10; 3],
        }
    }
}

/// The screen, each cell as the font draws it.
pub fn png(screen: &vt100::Screen, font: &Font, colours: Colours) -> Result<Vec<u8>> {
    let (rows, columns) = screen.size();
    let (width, height) = font.cell;
    let mut image = Image::new(
        usize::from(columns) * width + 2 * MARGIN,
        usize::from(rows) * height + 2 * MARGIN,
        colours.default().1,
    );
    for row in 0..rows {
        for column in 0..columns {
            if let Some(cell) = screen.cell(row, column) {
                let at = (
                    MARGIN + usize::from(column) * width,
                    MARGIN + usize::from(row) * height,
                );
                draw(cell, at, font, colours, &mut image);
            }
        }
    }
    image.encode()
}

fn draw(
    cell: &vt100::Cell,
    (left, top): (usize, usize),
    font: &Font,
    colours: Colours,
    image: &mut Image,
) {
    let (letters, behind) = colours.default();
    let mut letters = colours.pixel(cell.fgcolor(), letters);
    let mut behind = colours.pixel(cell.bgcolor(), behind);
    if cell.inverse() {
        std::mem::swap(&mut letters, &mut behind);
    }
    let (width, height) = font.cell;
    let mut put = |x: usize, y: usize, cover: f32| {
        image.put(left + x, top + y, mixed(letters, behind, cover));
    };
    for y in 0..height {
        for x in 0..width {
            put(x, y, 0.0);
        }
    }
    let letter = cell.contents().chars().next().unwrap_or(' ');
    if let Some(cover) = block(letter) {
        // Drawn to the edges of the cell, as terminals do.
        for y in 0..height {
            for x in 0..width {
                put(x, y, cover((y as f32 + 0.5) / height as f32));
            }
        }
    } else {
        font.draw(letter, cell.bold(), &mut put);
    }
    if cell.underline() {
        for x in 0..width {
            put(x, height - 2, 1.0);
        }
    }
}

/// How much of a pixel is covered, so far from the top of the cell, of a block element.
fn block(letter: char) -> Option<impl Fn(f32) -> f32> {
    let (from, cover) = match letter {
        '▁'..='█' => {
            let eighths = u32::from(letter) - u32::from('▁') + 1;
            (1.0 - eighths as f32 / 8.0, 1.0)
        }
        '░' => (0.0, 0.25),
        '▒' => (0.0, 0.5),
        '▓' => (0.0, 0.75),
        _ => return None,
    };
    Some(move |from_top: f32| if from_top >= from { cover } else { 0.0 })
}

/// A colour between two.
fn mixed(letters: Pixel, behind: Pixel, cover: f32) -> Pixel {
    let share = (cover.clamp(0.0, 1.0) * STEPS).round() / STEPS;
    std::array::from_fn(|at| {
        let [from, to] = [behind[at], letters[at]].map(f32::from);
        shade(from + (to - from) * share)
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between two bytes"
)]
fn shade(value: f32) -> u8 {
    value.round() as u8
}

/// Pixels by their number in a palette.
struct Image {
    width: usize,
    pixels: Vec<u8>,
    palette: Vec<Pixel>,
    numbers: BTreeMap<Pixel, u8>,
}

impl Image {
    fn new(width: usize, height: usize, background: Pixel) -> Self {
        Self {
            width,
            pixels: vec![0; width * height],
            palette: vec![background],
            numbers: BTreeMap::from([(background, 0)]),
        }
    }

    /// A pixel outside of it is left out; a colour that finds no room in the palette gets one that is near.
    fn put(&mut self, x: usize, y: usize, pixel: Pixel) {
        let number = match self.numbers.get(&pixel) {
            Some(&number) => number,
            None => self.add(pixel),
        };
        if x < self.width
            && let Some(there) = self.pixels.get_mut(y * self.width + x)
        {
            *there = number;
        }
    }

    fn add(&mut self, pixel: Pixel) -> u8 {
        let distance = |other: &Pixel| -> u32 {
            let parts = other.iter().zip(pixel);
            parts
                .map(|(&one, other)| u32::from(one.abs_diff(other)))
                .sum()
        };
        let number = if let Ok(number) = u8::try_from(self.palette.len()) {
            self.palette.push(pixel);
            number
        } else {
            let palette = (0..=u8::MAX).zip(&self.palette);
            let nearest = palette.min_by_key(|(_, other)| distance(other));
            nearest.map_or(0, |(number, _)| number)
        };
        self.numbers.insert(pixel, number);
        number
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let mut file = Vec::new();
        let [width, height] = [self.width, self.pixels.len() / self.width]
            .map(|length| u32::try_from(length).unwrap_or(u32::MAX));
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(self.palette.concat());
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header().context("write a picture")?;
        let written = writer.write_image_data(&self.pixels);
        written
            .and_then(|()| writer.finish())
            .context("write a picture")?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_elements_fill_a_part_of_the_cell() {
        let cover = |letter, from_top| block(letter).map(|cover| cover(from_top));
        assert_eq!(cover('▁', 0.9), Some(1.0));
        assert_eq!(cover('▁', 0.8), Some(0.0));
        assert_eq!(cover('▄', 0.6), Some(1.0));
        assert_eq!(cover('█', 0.01), Some(1.0));
        assert_eq!(cover('▒', 0.5), Some(0.5));
        assert_eq!(cover('a', 0.5), None);
    }

    #[test]
    fn colours_of_256_are_a_cube_and_a_row_of_greys() {
        let pixel = |number| Colours::Dark.pixel(Color::Idx(number), [1, 2, 3]);
        assert_eq!(pixel(16), [0, 0, 0]);
        assert_eq!(pixel(208), [255, 135, 0]);
        assert_eq!(pixel(231), [255, 255, 255]);
        assert_eq!(pixel(232), [8, 8, 8]);
        assert_eq!(pixel(255), [238, 238, 238]);
        assert_eq!(Colours::Dark.pixel(Color::Default, [1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn a_palette_that_is_full_takes_what_is_near() {
        let mut image = Image::new(300, 1, [0, 0, 0]);
        for x in 0..300u16 {
            let shade = u8::try_from(x % 256).unwrap_or(0);
            image.put(usize::from(x), 0, [shade, 0, u8::from(x > 255)]);
        }
        assert_eq!(image.palette.len(), 256);
        assert_eq!(image.pixels[257], 1);
    }
}
