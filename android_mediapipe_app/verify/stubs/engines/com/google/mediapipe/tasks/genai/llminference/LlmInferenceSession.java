package com.google.mediapipe.tasks.genai.llminference;

import com.google.common.util.concurrent.ListenableFuture;
import com.google.common.util.concurrent.SettableFuture;
import dev.taskbundler.fakes.Script;
import java.io.File;

/** A fake of MediaPipe's session; answers on a thread of its own with the pieces of {@link Script}. */
@Deprecated
public class LlmInferenceSession implements AutoCloseable {
  private static final String BUSY = "Previous invocation still processing. Wait for done=true.";

  private final LlmInference engine;
  private final StringBuilder prompt = new StringBuilder();
  boolean isClosed;
  private volatile boolean isCancelled;

  private LlmInferenceSession(LlmInference engine) {
    this.engine = engine;
  }

  public static LlmInferenceSession createFromOptions(LlmInference engine, LlmInferenceSessionOptions options) {
    String adapter = options.loraPath.isEmpty() ? "base" : new File(options.loraPath).getName();
    Script.calls.add("session " + adapter + " " + options.topK + " " + options.topP + " " + options.temperature + " " + options.seed);
    if (engine.isLocked.get()) Script.violated("a new session while another answers");
    if (!options.loraPath.isEmpty() && engine.options.ranks.isEmpty()) Script.violated("an adapter for an engine without ranks");
    if (options.topK > engine.options.maxTopK) throw new IllegalStateException("INVALID_ARGUMENT: topk is larger than max_top_k");
    Script.failIf(Script.sessionFailure);
    LlmInferenceSession session = new LlmInferenceSession(engine);
    engine.sessions.add(session);
    return session;
  }

  public void addQueryChunk(String text) {
    validate("addQueryChunk");
    prompt.append(text);
    Script.calls.add("prompt " + text);
  }

  public int sizeInTokens(String text) {
    validate("sizeInTokens");
    return (text.length() + 3) / 4;
  }

  public ListenableFuture<String> generateResponseAsync(ProgressListener<String> listener) {
    validate("generateResponseAsync");
    if (prompt.length() == 0) throw new IllegalStateException("INVALID_ARGUMENT: no query was added");
    if (engine.isLocked.getAndSet(true)) Script.violated("a second answer while one is written");
    SettableFuture<String> future = SettableFuture.create();
    try {
      Script.failIf(Script.generateFailure);
    } catch (Throwable failure) {
      engine.isLocked.set(false);
      throw failure;
    }
    Thread nativeThread = new Thread(() -> answer(listener, future), "native");
    nativeThread.setDaemon(true);
    nativeThread.start();
    return future;
  }

  public void cancelGenerateResponseAsync() {
    Script.calls.add("cancel");
    isCancelled = true;
  }

  @Override
  public void close() {
    validate("close");
    isClosed = true;
  }

  private void answer(ProgressListener<String> listener, SettableFuture<String> future) {
    StringBuilder response = new StringBuilder();
    boolean isMerged = engine.options.path.contains("/merged/");
    try {
      for (String piece : isMerged && Script.mergedPieces != null ? Script.mergedPieces : Script.pieces) {
        if (Script.gate != null) Script.gate.acquire();
        if (isCancelled) break;
        String decoded = response.length() == 0 ? piece.replaceFirst("^\\s+", "") : piece;
        response.append(decoded);
        listener.run(decoded, false);
        if (Script.asyncFailure != null) return;
      }
      if (Script.hangs) Script.release.acquire();
    } catch (InterruptedException interrupted) {
      return;
    }
    engine.isLocked.set(false);
    future.set(response.toString());
    listener.run("", true);
  }

  private void validate(String what) {
    if (isClosed) Script.violated(what + " on a closed session");
    if (engine.isLocked.get()) Script.violated(what + ": " + BUSY);
  }

  public static final class LlmInferenceSessionOptions {
    final int topK;
    final float topP;
    final float temperature;
    final int seed;
    final String loraPath;

    private LlmInferenceSessionOptions(Builder builder) {
      topK = builder.topK;
      topP = builder.topP;
      temperature = builder.temperature;
      seed = builder.seed;
      loraPath = builder.loraPath;
    }

    public static Builder builder() {
      return new Builder();
    }

    public static final class Builder {
      private int topK = 40;
      private float topP = 1.0f;
      private float temperature = 0.8f;
      private int seed = 0;
      private String loraPath = "";

      public Builder setTopK(int topK) {
        this.topK = topK;
        return this;
      }

      public Builder setTopP(float topP) {
        this.topP = topP;
        return this;
      }

      public Builder setTemperature(float temperature) {
        this.temperature = temperature;
        return this;
      }

      public Builder setRandomSeed(int seed) {
        this.seed = seed;
        return this;
      }

      public Builder setLoraPath(String loraPath) {
        this.loraPath = loraPath;
        return this;
      }

      public LlmInferenceSessionOptions build() {
        return new LlmInferenceSessionOptions(this);
      }
    }
  }
}
