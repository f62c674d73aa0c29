//! Records shared by both ends, encoded with postcard.
