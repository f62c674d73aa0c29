//! The checksum of a data block: CRC-16 over class, subclass and content (IEC 62055-41 6.3.7), and its currency variant.

/// CRC-16/MODBUS four bits at a time: reflected polynomial 0xA001.
const NIBBLE: [u16; 16] = {
    let mut table = [0u16; 16];
    let mut i = 0;
    while i < 16 {
        let mut crc = i as u16;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// The checksum as it stands in the block: initial value 0xFFFF, no final xor, low byte transmitted first.
#[must_use]
pub fn crc(bytes: &[u8]) -> u16 {
    let sum = bytes.iter().fold(0xFFFFu16, |sum, &byte| {
        let sum = sum ^ u16::from(byte);
        let sum = (sum >> 4) ^ NIBBLE[usize::from(sum & 15)];
        (sum >> 4) ^ NIBBLE[usize::from(sum & 15)]
    });
    sum.swap_bytes()
}

/// The checksum of a block: `class` (2 bits) and the 48 bits above the checksum, padded on the left to 7 bytes.
/// Currency credit appends one byte 0x01, so a unit token can never be read as a currency token.
#[must_use]
pub fn block_crc(class: u8, block: u64, currency: bool) -> u16 {
    let value = (u64::from(class & 3) << 48) | (block >> 16);
    let mut bytes = [0u8; 8];
    bytes[..7].copy_from_slice(&value.to_be_bytes()[1..]);
    bytes[7] = 0x01;
    crc(&bytes[..if currency { 8 } else { 7 }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_check_values_hold() {
        // STS Association, definitions page.
        assert_eq!(crc(&0x4A_2D90_0FF2u64.to_be_bytes()[1..]), 0x0FFA);
        assert_eq!(crc(&0x4A2D_900F_F201u64.to_be_bytes()), 0x7BC4);
        // Worked example of IEC 62055-41.
        assert_eq!(block_crc(0, 0x0B19_EB23_0100_0000, false), 0xC207);
    }
}
