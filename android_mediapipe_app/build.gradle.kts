// Versions are in gradle/libs.versions.toml. verify/ checks the sources without Gradle.
plugins {
    alias(libs.plugins.android.application) apply false
    alias(libs.plugins.kotlin.android) apply false
    alias(libs.plugins.kotlin.jvm) apply false
}
