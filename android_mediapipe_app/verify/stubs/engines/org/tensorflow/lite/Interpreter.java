package org.tensorflow.lite;

import dev.taskbundler.fakes.Script;
import java.io.File;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A fake of LiteRT's interpreter with a trainer file: its signatures, the shapes of what they take, and no model. */
public final class Interpreter implements AutoCloseable {
  public static class Options {
    public Options setNumThreads(int threads) {
      return this;
    }
  }

  private static final Pattern KEY = Pattern.compile("(train|eval)_(\\d+)_r\\d+|(init)_r\\d+");
  private boolean isClosed;

  public Interpreter(File file, Options options) {
    Script.calls.add("open trainer " + file.getName());
    Script.failIf(Script.openFailure);
    if (Script.open.get() > 0) Script.violated("a trainer while an engine is open");
  }

  public void runSignature(Map<String, Object> inputs, Map<String, Object> outputs, String key) {
    if (isClosed) Script.violated("Internal error: The Interpreter has already been closed.");
    Matcher signature = KEY.matcher(key);
    if (!signature.matches()) throw new IllegalArgumentException("Invalid signature name: " + key);
    if (signature.group(3) != null) {
      require(inputs, "spread [1]");
      Arrays.fill((float[]) outputs.get("adapter"), 0.01f);
      return;
    }
    String length = signature.group(2);
    String count = shape(inputs.get("adapter"));
    if (signature.group(1).equals("eval")) {
      require(inputs, "adapter " + count, "scaling [1]", "targets [1, " + length + "]", "tokens [1, " + length + "]");
      require(outputs, "losses [1, " + length + "]");
      float learnt = Math.abs(((float[]) inputs.get("adapter"))[0]);
      Arrays.fill(((float[][]) outputs.get("losses"))[0], 5 - learnt);
      return;
    }
    train(inputs, outputs, length, count);
  }

  private static void train(Map<String, Object> inputs, Map<String, Object> outputs, String length, String count) {
    require(
        inputs, "adapter " + count, "first_moment " + count, "gradient " + count, "learning_rate [1]",
        "loss_weights [1, " + length + "]", "scaling [1]", "second_moment " + count, "step [1]", "targets [1, " + length + "]",
        "tokens [1, " + length + "]", "update [1]", "weight_decay [1]");
    require(outputs, "adapter " + count, "first_moment " + count, "gradient " + count, "loss [1]", "second_moment " + count);
    if (Script.gate != null) Script.gate.acquireUninterruptibly();
    int[] tokens = ((int[][]) inputs.get("tokens"))[0];
    int[] targets = ((int[][]) inputs.get("targets"))[0];
    for (int i = 1; i < tokens.length; i++) if (tokens[i] != targets[i - 1]) Script.violated("a target that is not the next token");
    float[] before = (float[]) inputs.get("adapter");
    float[] after = (float[]) outputs.get("adapter");
    boolean updates = ((float[]) inputs.get("update"))[0] != 0;
    for (int i = 0; i < before.length; i++) after[i] = before[i] + (updates ? 0.01f : 0);
    float weight = ((float[][]) inputs.get("loss_weights"))[0][0];
    ((float[]) outputs.get("loss"))[0] = Script.diverges ? Float.NaN : (5 - before[0]) * weight * tokens.length;
  }

  @Override
  public void close() {
    if (isClosed) Script.violated("a trainer that is closed twice");
    isClosed = true;
    Script.calls.add("close trainer");
  }

  private static void require(Map<String, Object> values, String... expected) {
    Map<String, String> shapes = new TreeMap<>();
    values.forEach((name, value) -> shapes.put(name, name + " " + shape(value)));
    if (!Arrays.asList(expected).equals(Arrays.asList(shapes.values().toArray()))) {
      throw new IllegalArgumentException("expected " + Arrays.toString(expected) + ", got " + shapes.values());
    }
  }

  private static String shape(Object value) {
    if (value instanceof float[]) return "[" + ((float[]) value).length + "]";
    if (value instanceof float[][]) return "[" + ((float[][]) value).length + ", " + ((float[][]) value)[0].length + "]";
    return "[" + ((int[][]) value).length + ", " + ((int[][]) value)[0].length + "]";
  }
}
