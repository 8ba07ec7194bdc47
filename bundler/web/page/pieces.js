// Puts characters together that the engine hands over in parts.
//
// A token can be a part of a character: most emoji are two or three tokens. The engine turns each token's bytes into a
// string by itself, with a TextDecoder, which makes U+FFFD of a part. So while it writes, parts pass through as what they
// are, byte by byte in lone surrogates, and are joined here.

const ESCAPE = 0xdc00; // + the byte; alone, these code units stand for no character
let listening = 0; // how many texts are being written

const decode = TextDecoder.prototype.decode;
TextDecoder.prototype.decode = function (bytes, options) {
  const text = decode.call(this, bytes, options);
  // A byte order mark is dropped by every decoder that was not told otherwise.
  if (!listening || options || !bytes || (!text.includes("\ufffd") && bytes[0] !== 0xef)) return text;
  return String.fromCharCode(...Array.from(bytes, (byte) => (byte < 0x80 ? byte : ESCAPE + byte)));
};

/** One per text: `add(piece)` gives what can be read of it by now, `end()` the rest. Nothing may be skipped. */
export class Pieces {
  #whole = new TextDecoder("utf-8", { ignoreBOM: true });
  #encoder = new TextEncoder();

  constructor() {
    listening += 1;
  }

  add(piece) {
    let text = "";
    for (const character of piece) {
      const unit = character.charCodeAt(0);
      const escaped = character.length === 1 && unit >= ESCAPE + 0x80 && unit <= ESCAPE + 0xff;
      text += this.#whole.decode(escaped ? Uint8Array.of(unit - ESCAPE) : this.#encoder.encode(character), { stream: true });
    }
    return text;
  }

  end() {
    listening -= 1;
    return this.#whole.decode();
  }
}
