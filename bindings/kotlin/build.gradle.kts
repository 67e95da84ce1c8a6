// Checked by eye against https://developer.android.com/build/publish-library and https://developer.android.com/build/native-dependencies; not run where
// there is no Android SDK. The shared libraries of the four ABIs come from the build script of the bindings, in src/main/jniLibs/ABI/libvigie_ffi.so.
plugins {
    id("com.android.library") version "8.13.0"
    id("com.android.application") version "8.13.0" apply false
    id("org.jetbrains.kotlin.android") version "2.2.20"
    id("maven-publish")
}

group = "org.vigie"
version = "0.1.0"

android {
    namespace = "vigie.android"
    compileSdk = 36

    defaultConfig {
        minSdk = 26
        consumerProguardFiles("consumer-rules.pro")
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    publishing {
        singleVariant("release") { withSourcesJar() }
    }
}

kotlin {
    compilerOptions {
        jvmTarget = org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_17
    }
}

dependencies {
    // How the generated code calls the library. At least 5.17.0, the first whose libjnidispatch.so works on phones with pages of 16 KiB: 5.16.0 was
    // aligned and crashed (https://github.com/java-native-access/jna/issues/1647, closed by /pull/1654). `aar`: only that has Android's libraries in it.
    api("net.java.dev.jna:jna:5.17.0@aar")
    // Suspending functions and flows.
    api("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.10.2")
    // Asks the servers while no part of the app runs. https://developer.android.com/jetpack/androidx/releases/work
    api("androidx.work:work-runtime-ktx:2.10.5")
}

// A folder that is a repository: the AAR with a POM, which names what it needs; a bare AAR would leave the app without JNA, coroutines and WorkManager.
// https://developer.android.com/build/publish-library/upload-library
publishing {
    repositories {
        // https://docs.gradle.org/current/userguide/publishing_maven.html#publishing_maven:repositories
        maven {
            name = "folder"
            url = uri(layout.buildDirectory.dir("repository"))
        }
    }
    publications {
        register<MavenPublication>("release") {
            artifactId = "vigie-android"
            afterEvaluate { from(components["release"]) }
        }
    }
}
