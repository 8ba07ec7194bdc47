package dev.taskbundler.fakes;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * What the engines made of fakes do next, and what was done to them.
 *
 * A broken rule is thrown at once and also noted in {@link #violations}, since a native library would have crashed.
 */
public final class Script {
  public static volatile List<String> pieces;
  /** Of a bundle into which an adapter was merged; null for the same. */
  public static volatile List<String> mergedPieces;
  /** Thrown by the next opening, session or beginning of an answer; null for none. */
  public static volatile Throwable openFailure;
  public static volatile Throwable sessionFailure;
  public static volatile Throwable generateFailure;
  /** Given to the listener in the middle of an answer (LiteRT-LM), or ends it without a word (MediaPipe, which has no way to tell). */
  public static volatile Throwable asyncFailure;
  /** Whether an answer never ends, not even when it is cancelled. */
  public static volatile boolean hangs;
  /** Takes one permit for each piece, if there is one: lets a test go step by step. */
  public static volatile Semaphore gate;
  /** Whether the model of a .litertlm has no inputs for adapters; else LiteRT-LM must be given one for every session. */
  public static volatile boolean withoutLora;
  public static final List<String> violations = Collections.synchronizedList(new ArrayList<>());
  public static final List<String> calls = Collections.synchronizedList(new ArrayList<>());
  /** Engines that are open now; one that a test leaves open for good is forgotten by {@link #reset}. */
  public static final AtomicInteger open = new AtomicInteger();
  /** Whether the model of a trainer diverges in its next step. */
  public static volatile boolean diverges;
  /** Ends an answer that hangs. */
  public static volatile Semaphore release;

  private Script() {}

  public static synchronized void reset() {
    pieces = Arrays.asList(" Paris", ".", " It", " is", " old", ".");
    mergedPieces = null;
    openFailure = null;
    sessionFailure = null;
    generateFailure = null;
    asyncFailure = null;
    hangs = false;
    gate = null;
    withoutLora = false;
    diverges = false;
    release = new Semaphore(0);
    open.set(0);
    violations.clear();
    calls.clear();
  }

  /** Note a broken rule and throw it. */
  public static void violated(String rule) {
    violations.add(rule);
    throw new IllegalStateException(rule);
  }

  public static void failIf(Throwable failure) {
    if (failure != null) Script.<RuntimeException>sneak(failure);
  }

  @SuppressWarnings("unchecked")
  private static <E extends Throwable> void sneak(Throwable failure) throws E {
    throw (E) failure;
  }
}
