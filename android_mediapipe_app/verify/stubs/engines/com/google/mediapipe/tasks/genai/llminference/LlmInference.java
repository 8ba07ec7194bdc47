package com.google.mediapipe.tasks.genai.llminference;

import android.content.Context;
import dev.taskbundler.fakes.Script;
import java.io.File;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;

/** A fake of MediaPipe's engine: the rules of tasks-genai 0.10.35, and no model. */
@Deprecated
public class LlmInference implements AutoCloseable {
  public enum Backend {
    DEFAULT,
    CPU,
    GPU
  }

  final LlmInferenceOptions options;
  /** The lock is the engine's: a second session cannot answer beside the first. */
  final AtomicBoolean isLocked = new AtomicBoolean();
  final List<LlmInferenceSession> sessions = new ArrayList<>();
  private boolean isClosed;

  private LlmInference(LlmInferenceOptions options) {
    this.options = options;
  }

  public static LlmInference createFromOptions(Context context, LlmInferenceOptions options) {
    if (context.getCacheDir() == null) throw new NullPointerException("no folder for the cache");
    if (options.path.endsWith(".litertlm")) Script.violated("a .litertlm for MediaPipe, which reads none");
    Script.calls.add("open " + new File(options.path).getName() + " " + options.backend + " " + options.maxTokens + " " + options.ranks);
    if (options.backend == Backend.CPU && !options.ranks.isEmpty()) Script.violated("LoRA ranks on the CPU: the process is killed");
    if (Script.open.get() > 0) Script.violated("a second engine while one is open");
    Script.failIf(Script.openFailure);
    Script.open.incrementAndGet();
    return new LlmInference(options);
  }

  public String generateResponse(String text) {
    Script.violated("generateResponse of the engine has a session of its own, without an adapter");
    return null;
  }

  public int sizeInTokens(String text) {
    Script.violated("sizeInTokens of the engine has a session of its own");
    return 0;
  }

  @Override
  public void close() {
    if (isLocked.get()) Script.violated("the engine was closed while it answers");
    if (isClosed) Script.violated("the engine was closed twice");
    for (LlmInferenceSession session : sessions) if (!session.isClosed) Script.violated("the engine was closed before a session of it");
    isClosed = true;
    Script.open.decrementAndGet();
    Script.calls.add("close");
  }

  public static final class LlmInferenceOptions {
    final String path;
    final int maxTokens;
    final int maxTopK;
    final List<Integer> ranks;
    final Backend backend;

    private LlmInferenceOptions(Builder builder) {
      path = builder.path;
      maxTokens = builder.maxTokens;
      maxTopK = builder.maxTopK;
      ranks = builder.ranks;
      backend = builder.backend;
    }

    public static Builder builder() {
      return new Builder();
    }

    public static final class Builder {
      private String path;
      private int maxTokens = 512;
      private int maxTopK = 40;
      private List<Integer> ranks = Collections.emptyList();
      private Backend backend = Backend.DEFAULT;

      public Builder setModelPath(String path) {
        this.path = path;
        return this;
      }

      public Builder setMaxTokens(int maxTokens) {
        this.maxTokens = maxTokens;
        return this;
      }

      public Builder setMaxNumImages(int images) {
        return this;
      }

      public Builder setMaxTopK(int maxTopK) {
        this.maxTopK = maxTopK;
        return this;
      }

      public Builder setSupportedLoraRanks(List<Integer> ranks) {
        this.ranks = ranks;
        return this;
      }

      public Builder setPreferredBackend(Backend backend) {
        this.backend = backend;
        return this;
      }

      public LlmInferenceOptions build() {
        if (path == null) throw new IllegalStateException("Missing required properties: modelPath");
        return new LlmInferenceOptions(this);
      }
    }
  }
}
