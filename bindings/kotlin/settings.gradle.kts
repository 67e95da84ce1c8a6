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

rootProject.name = "vigie"
include(":sample")
