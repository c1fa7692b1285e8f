//! Fields of an object that are there together or not at all.
//!
//! What serde makes of a flattened `Option` is nothing as soon as any of them cannot be read. Here it is
//! nothing only where none of them is there.

use std::fmt::{self, Formatter};
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor};

/// Such fields.
pub trait Part: DeserializeOwned {
    /// Those that are always there when it is.
    const FIELDS: &[&str];
}

/// Reads them from among others.
pub fn read<'de, T: Part, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_map(AmongOthers(PhantomData))
}

struct AmongOthers<T>(PhantomData<T>);

impl<'de, T: Part> Visitor<'de> for AmongOthers<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<T>, A::Error> {
        let mut is_there = false;
        let watched = Watched {
            map: &mut map,
            fields: T::FIELDS,
            is_there: &mut is_there,
        };
        let read = T::deserialize(MapAccessDeserializer::new(watched));
        if read.is_err() {
            // What could not be read may have come before any of the fields.
            while let Some(key) = map.next_key::<String>()? {
                is_there |= T::FIELDS.contains(&key.as_str());
                map.next_value::<IgnoredAny>()?;
            }
        }
        match read {
            Err(_) if !is_there => Ok(None),
            read => read.map(Some),
        }
    }
}

/// An object that notes whether one of the fields went by.
struct Watched<'a, A> {
    map: &'a mut A,
    fields: &'static [&'static str],
    is_there: &'a mut bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Watched<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.map.next_key::<String>()? else {
            return Ok(None);
        };
        *self.is_there |= self.fields.contains(&key.as_str());
        seed.deserialize(StringDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::Part;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Pair {
        left: u64,
        right: Option<Vec<u8>>,
    }

    impl Part for Pair {
        const FIELDS: &[&str] = &["left"];
    }

    #[derive(Debug, Deserialize)]
    struct Whole {
        name: String,
        #[serde(flatten, deserialize_with = "super::read")]
        pair: Option<Pair>,
    }

    #[test]
    fn what_is_malformed_is_an_error_and_what_is_absent_is_absent() {
        let read = |json: &str| serde_json::from_str::<Whole>(json);
        let whole = read(r#"{"name": "x", "other": [1], "left": 3, "right": [1]}"#);
        let whole = whole.expect("both");
        let right = Some(vec![1]);
        assert_eq!(
            (whole.name.as_str(), whole.pair),
            ("x", Some(Pair { left: 3, right }))
        );
        let absent = read(r#"{"name": "x", "other": {"left": 3}}"#).expect("a name");
        assert_eq!(absent.pair, None);
        for malformed in [
            r#"{"name": "x", "left": "3"}"#,
            r#"{"left": -1, "name": "x"}"#,
            r#"{"name": "x", "right": [300], "left": 3}"#,
            r#"{"name": "x", "left": 3, "left": 4}"#,
        ] {
            assert!(read(malformed).is_err(), "{malformed}");
        }
    }
}
