//! The handbook: a PDF that a viewer opens, with enough bytes in it to be worth a range.

use super::noise;

/// A one-page PDF of about `size` bytes: the page, and an unused stream of noise.
pub fn pdf(seed: u64, title: &str, size: usize) -> Vec<u8> {
    let text = format!("BT /F1 24 Tf 72 760 Td ({}) Tj ET", title.replace(['(', ')', '\\'], " "));
    let objects: [Vec<u8>; 6] = [
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
          /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_vec(),
        stream(text.as_bytes()),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_vec(),
        stream(&noise::bytes(seed, size)),
    ];
    let mut out = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut places = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        places.push(out.len());
        out.extend(format!("{} 0 obj\n", i + 1).as_bytes());
        out.extend(object);
        out.extend(b"\nendobj\n");
    }
    let start = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", places.len() + 1).as_bytes());
    for place in places {
        out.extend(format!("{place:010} 00000 n \n").as_bytes());
    }
    let trailer = "trailer\n<< /Size 7 /Root 1 0 R >>\nstartxref\n";
    out.extend(format!("{trailer}{start}\n%%EOF\n").as_bytes());
    out
}

fn stream(data: &[u8]) -> Vec<u8> {
    let mut out = format!("<< /Length {} >>\nstream\n", data.len()).into_bytes();
    out.extend(data);
    out.extend(b"\nendstream");
    out
}
