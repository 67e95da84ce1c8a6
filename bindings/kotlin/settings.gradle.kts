// The Android library (this folder) and a sample app of one screen (`sample`).
// https://docs.gradle.org/current/userguide/multi_project_builds.html
pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}

dependencyResolutionManagement {
    repositoriesMode = RepositoriesMode.FAIL_ON_PROJECT_REPOS
    repositories {
        google()
        mavenCentral()
    }
}

// With the group of build.gradle.kts these are the coordinates, org.vigie:vigie-android, by which a build that includes this one finds it, too:
// https://docs.gradle.org/current/userguide/composite_builds.html
rootProject.name = "vigie-android"
include(":sample")
