package com.google.mediapipe.tasks.genai.llminference;

@Deprecated
public interface ProgressListener<T> {
  void run(T partialResult, boolean done);
}
