// What the engine says, and what that means for a bundle. First match wins; the texts were read off 0.10.29.
const MEANINGS = [
  [/no WebGPU|Unable to request adapter/, "This browser offers no WebGPU. Use a current Chrome or Edge, or on Linux start it with --enable-unsafe-webgpu --enable-features=Vulkan."],
  [/Expected uncompressed zip archive/, "An entry of this bundle is compressed; MediaPipe reads stored entries only. Build it again."],
  [/Unable to open zip archive/, "This bundle is cut off or damaged. Copy it again."],
  [/No file with name: (\w+)/, "This bundle has no entry $1. Build it again."],
  [/(TF_LITE_PREFILL_DECODE) model file not found/, "This bundle has no entry $1. Build it again."],
  [/Failed to build TF_LITE_PREFILL_DECODE model/, "The entry TF_LITE_PREFILL_DECODE of this bundle is no TFLite model. Build it again."],
  [/sentencepiece_processor|unk is not defined/, "The entry TOKENIZER_MODEL of this bundle is no SentencePiece model. Build it again."],
  [/EMBEDDING_LOOKUP: Unsupported external weights type/, "The embedding of this bundle is float32, which this engine aborts on. Build it with --quant int8, int4-block32 or int4-block128."],
  [/Shape mismatch: \{bhwc/, "The embedding and the head of this bundle share weights in a way this engine cannot load (int8-weight-only). Build it with --quant int8."],
  [/weights are supported for sharing/, "This engine shares weights between prefill and decode only in int8, int4 and int2 with dynamic ranges. Build the bundle with --quant int8."],
  [/id >= 0 \(-1 vs/, "The sampler found no token: the width of the logits is not a multiple of 4. Build the bundle again."],
  [/Max number of tokens is larger than the maximum cache size supported: (\d+) > (\d+)/, "The context asked for is $1 tokens, the bundle's is $2. Ask for at most that."],
  [/input_size\((\d+)\) was not less than maxTokens\((\d+)\)/, "The prompt is $1 tokens long with its start token; the context has room for $2, output included. Shorten the prompt."],
  [/gpu_artisan/, "This .litertlm holds no model for the web. Give the .task of the same build."],
  [/No model format matched|stream ended after reading/, "This is no .task bundle, or it is not aligned as MediaPipe's are. Build it again."],
  [/Failed to fetch model: \S+ ended early/, "The bundle was cut short while it was read. Wait until it has been written or copied, then try again."],
  [/Failed to fetch model: \S+ \(404\)/, "The bundle is no longer where it was. Put it back, or end task-bundler try and give it the new place."],
  [/Failed to fetch model: \S+ \(500\)/, "The adapter could not be merged into this bundle; task-bundler try says why where it was started."],
  [/Failed to fetch/, "The bundle could not be read. Is task-bundler try still running, and the file where it was?"],
  [/exceeds the maximum size your device supports/, "A tensor of this bundle is larger than this GPU takes. Try a smaller model."],
  [/Device lost|device was lost|out of memory/i, "The GPU gave up, often for lack of memory. Reload the page, or try a smaller model."],
  [/currently loading or processing/, "The engine is still busy. Wait until it has ended."],
];

/** A sentence for the error `raw`, with the lines the engine printed meanwhile as witnesses. */
export function explain(raw, printed) {
  const said = [raw, ...printed].join("\n");
  for (const [pattern, meaning] of MEANINGS) {
    const match = said.match(pattern);
    if (match) return meaning.replace(/\$(\d)/g, (_, group) => match[group]);
  }
  const fatal = printed.findLast((line) => /^[FE]\d{4} /.test(line)) ?? raw;
  return `The engine failed: ${fatal.replace(/^[FE]\d{4} \S+ +\d+ \S+\] /, "").split("\n")[0].slice(0, 300)}`;
}
