// What an app needs of the generated module, under names that do not collide: an app imports `Vigie` alone.
//
// The generated module has a type `Task` that would hide Swift's own in every file that imports it; here it is `LibraryTask`. `Tracer` is missing: that
// is the class of Vigie.swift.

import Foundation
import VigieFFI

/// A part of the library that works in the background.
public typealias LibraryTask = VigieFFI.Task

/// What goes out in an advertisement.
public typealias Advertisement = VigieFFI.Advertisement

/// A piece of advice.
public typealias Advice = VigieFFI.Advice

/// A warning.
public typealias Alert = VigieFFI.Alert

/// A bulletin in one language. What it configures holds already.
public typealias Bulletin = VigieFFI.Bulletin

/// What is known of a device's radio. Published tables have it for each model.
public typealias Calibration = VigieFFI.Calibration

/// How well a calibration is known.
public typealias CalibrationConfidence = VigieFFI.CalibrationConfidence

/// Ends the calls that it is handed to. One serves for as many as should end together, and cannot be taken back.
public typealias Cancel = VigieFFI.Cancel

/// What a check found.
public typealias CheckReport = VigieFFI.CheckReport

/// Where the time comes from. An app gives none, and the device's clocks are read.
public typealias Clock = VigieFFI.Clock

/// Both clocks of a device, at one moment.
public typealias ClockReadings = VigieFFI.ClockReadings

/// What an app decides when it opens a tracer. Only the first two have to be said.
public typealias Config = VigieFFI.Config

/// Something an app may want to show or to act upon. An app that takes none loses the oldest of more than 1,000; status and alerts still say all that matters.
public typealias Event = VigieFFI.Event

/// A field of the form.
public typealias Field = VigieFFI.Field

/// One figure, day by day.
public typealias Figure = VigieFFI.Figure

/// What a figure was on a day.
public typealias FigureValue = VigieFFI.FigureValue

/// What became of one file.
public typealias FileReport = VigieFFI.FileReport

/// What became of one file.
public typealias FileStatus = VigieFFI.FileStatus

/// A header.
public typealias HttpHeader = VigieFFI.HttpHeader

/// Something to be asked of a server, once. An attempt takes 60 s at most.
public typealias HttpRequest = VigieFFI.HttpRequest

/// What a server said.
public typealias HttpResponse = VigieFFI.HttpResponse

/// What was wrong of what was handed in.
public typealias Input = VigieFFI.Input

/// A key list, for an app to show.
public typealias KeyListStatus = VigieFFI.KeyListStatus

/// Wraps and unwraps the key that the store is sealed with, with a key of its own that never leaves it: in Android's Keystore or Apple's Keychain. Usable
public typealias KeyVault = VigieFFI.KeyVault

/// A language in which the person is written to.
public typealias Language = VigieFFI.Language

/// A clock that stands still until it is told; `Tracer.wake` has a tracer look at it.
public typealias ManualClock = VigieFFI.ManualClock

/// What the network costs the user.
public typealias Network = VigieFFI.Network

/// What the user has to allow.
public typealias Permission = VigieFFI.Permission

/// The phone's Bluetooth. Calls may block for up to 10 s; apart from `RadioError` they throw nothing.
public typealias Radio = VigieFFI.Radio

/// What a `Radio` throws.
public typealias RadioError = VigieFFI.RadioError

/// Why a radio does nothing.
public typealias RadioProblem = VigieFFI.RadioProblem

/// Takes what a `Radio` hears.
public typealias RadioSink = VigieFFI.RadioSink

/// A report, for an app to show.
public typealias Report = VigieFFI.Report

/// What a person says of a diagnosis.
public typealias ReportDetails = VigieFFI.ReportDetails

/// Why a report cannot be done.
public typealias ReportRefusal = VigieFFI.ReportRefusal

/// How a report stands, for an app to show.
public typealias ReportState = VigieFFI.ReportState

/// What follows from all key files that were matched.
public typealias Risk = VigieFFI.Risk

/// A day on which something counts.
public typealias RiskDay = VigieFFI.RiskDay

/// How likely it is that the user was infected, as an app says it.
public typealias RiskLevel = VigieFFI.RiskLevel

/// A packet of another device.
public typealias ScanResult = VigieFFI.ScanResult

/// When the radio listens.
public typealias Scanning = VigieFFI.Scanning

/// A sign-up, for an app to show.
public typealias SignUp = VigieFFI.SignUp

/// A change that is on its way.
public typealias SignUpChange = VigieFFI.SignUpChange

/// A form. It is checked and sealed on the device; what is handed in is not kept.
public typealias SignUpForm = VigieFFI.SignUpForm

/// What a person can show for a sign-up, and needs on another phone.
public typealias SignUpPapers = VigieFFI.SignUpPapers

/// Why something was not taken.
public typealias SignUpRefusal = VigieFFI.SignUpRefusal

/// How a sign-up stands, for an app to show.
public typealias SignUpState = VigieFFI.SignUpState

/// How it stands at one moment.
public typealias Status = VigieFFI.Status

/// Why the store cannot be used.
public typealias StorageProblem = VigieFFI.StorageProblem

/// What a sync did.
public typealias SyncReport = VigieFFI.SyncReport

/// What the user asked for.
public typealias Tracing = VigieFFI.Tracing

/// Carries requests, one at a time, on a thread of the library; it may block for up to 60 s. Apart from `TransportError` it throws nothing.
public typealias Transport = VigieFFI.Transport

/// What a `Transport` throws.
public typealias TransportError = VigieFFI.TransportError

/// Why there is no answer.
public typealias TransportProblem = VigieFFI.TransportProblem

/// What a `KeyVault` throws.
public typealias VaultError = VigieFFI.VaultError

/// Why a vault did not do what it was asked.
public typealias VaultProblem = VigieFFI.VaultProblem

/// Why a call failed. Nothing of it was done then, unless its documentation says otherwise.
public typealias VigieError = VigieFFI.VigieError

/// How many objects of the library are held by the app or by one another: for tests, which want none at their end.
public func liveObjects() -> UInt64 {
    VigieFFI.liveObjects()
}

/// A new recovery code, to be shown and written down before `Tracer.signUp`. In groups of four, as a person reads it.
public func newRecoveryCode() throws -> String {
    try VigieFFI.newRecoveryCode()
}

/// The same code in groups of four, where it is one: for a field in which somebody types.
public func groupRecoveryCode(typed: String) throws -> String {
    try VigieFFI.groupRecoveryCode(typed: typed)
}

/// The Rolling Proximity Identifier of a Temporary Exposure Key (16 bytes) in an interval: 16 bytes.
public func rollingProximityIdentifier(key: Data, interval: UInt32) throws -> Data {
    try VigieFFI.rollingProximityIdentifier(key: key, interval: interval)
}

/// The Associated Encrypted Metadata of 4 bytes under the identifier of that interval: 4 bytes.
public func associatedEncryptedMetadata(key: Data, interval: UInt32, metadata: Data) throws -> Data {
    try VigieFFI.associatedEncryptedMetadata(key: key, interval: interval, metadata: metadata)
}
