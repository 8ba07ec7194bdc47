import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "dev.taskbundler.app"
    compileSdk = 36

    defaultConfig {
        applicationId = "dev.taskbundler.app"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
        // The engines' native libraries are made for this one; a 32-bit process could not map a large bundle anyway.
        ndk { abiFilters += "arm64-v8a" }
    }

    buildTypes {
        release {
            isMinifyEnabled = false
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"), "proguard-rules.pro")
        }
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    // Packed bundles are copied out as they are; they are compressed already, as far as that goes.
    androidResources {
        noCompress += listOf("task", "litertlm", "tflite")
    }

    packaging {
        // Both engines may bring the C++ library.
        jniLibs.pickFirsts += "**/libc++_shared.so"
        // A list of what a library needs, under a name that several may use.
        resources.excludes += "META-INF/DEPENDENCIES"
    }
}

kotlin {
    // LiteRT-LM's classes are of Java 21 (class file version 65): an older javac or JVM refuses them. The app's own stay at 17.
    jvmToolchain(21)
    compilerOptions {
        jvmTarget.set(JvmTarget.JVM_17)
    }
}

dependencies {
    implementation(project(":core"))
    implementation(libs.mediapipe.tasks.genai)
    implementation(libs.litertlm.android)
    implementation(libs.litert)
    testImplementation(libs.junit)
}
