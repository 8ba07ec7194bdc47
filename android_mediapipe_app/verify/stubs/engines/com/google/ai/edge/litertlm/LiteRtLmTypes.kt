package com.google.ai.edge.litertlm

// What LiteRT-LM's Kotlin API takes and gives, 0.16.1: names, parameters and checks.

sealed class Backend(val name: String) {
    data class CPU(val threadCount: Int? = null) : Backend("CPU")

    class GPU : Backend("GPU")
}

data class EngineConfig(
    val modelPath: String,
    val backend: Backend = Backend.CPU(),
    val visionBackend: Backend? = null,
    val audioBackend: Backend? = null,
    val maxNumTokens: Int? = null,
    val maxNumImages: Int? = null,
    val cacheDir: String? = null,
) {
    init {
        require(maxNumTokens == null || maxNumTokens > 0) { "maxNumToken must be positive or null" }
    }
}

data class SamplerConfig(val topK: Int, val topP: Double, val temperature: Double, val seed: Int = 0) {
    init {
        require(topK > 0) { "topK should be positive, but got $topK." }
        require(topP in 0.0..1.0) { "topP should between 0 and 1 inclusively, but got $topP." }
        require(temperature >= 0) { "temperature should be non-negative, but got $temperature." }
    }
}

data class LoraConfig(val loraPath: String? = null, val audioLoraPath: String? = null)

data class SessionConfig(val samplerConfig: SamplerConfig? = null, val loraConfig: LoraConfig? = null)

sealed class InputData {
    data class Text(val text: String) : InputData()
}

interface ResponseCallback {
    fun onNext(response: String) {}

    fun onDone() {}

    fun onError(throwable: Throwable) {}
}

class LiteRtLmJniException(message: String) : Exception(message)
