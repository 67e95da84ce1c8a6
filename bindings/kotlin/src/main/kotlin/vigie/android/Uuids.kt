package vigie.android

import android.os.ParcelUuid
import java.util.UUID

/** Read by a central: `PAYLOAD_CHARACTERISTIC` of core/src/radio/ble/mod.rs. */
internal val PAYLOAD_CHARACTERISTIC: UUID = UUID.fromString("f26fe877-2ad9-4e24-8f90-e76022faabbb")

/** Written by a central: `WRITE_BACK_CHARACTERISTIC` of core/src/radio/ble/mod.rs. */
internal val WRITE_BACK_CHARACTERISTIC: UUID = UUID.fromString("77505958-11f1-4156-8608-84c57f9bb54a")

/** A 16-bit UUID in full (Core Specification v5.4, vol 3, part B, 2.5.1); `full_uuid` of core/src/radio/ble/hearing.rs. */
internal fun fullUuid(service: UShort): UUID = UUID(0x0000_0000_0000_1000L or (service.toLong() shl 32), -0x7FFF_FF7F_A064_CB05L)

internal fun parcelUuid(service: UShort) = ParcelUuid(fullUuid(service))
