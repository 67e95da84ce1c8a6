/** What others have published, and what earlier versions have written. */
package vigie.tests

import java.io.File
import vigie.ffi.associatedEncryptedMetadata
import vigie.ffi.rollingProximityIdentifier

private val ROOT = File(System.getenv("VIGIE_ROOT"))

/** The key, the start and the metadata of the vectors, as their first lines name them. */
private const val KEY = "75c734c6dd1a782de7a965da5eb93125"
private const val START = 2_642_976
private const val METADATA = "40080000"

val DATA = listOf<Test>(
    "the published vectors hold" to {
        val lines = File(ROOT, "core/src/keys/vectors.txt").readLines()
        same(true, lines.any { "TEK $KEY, rolling start $START, metadata $METADATA" in it })
        val vectors = lines.filter { it.isNotBlank() && !it.startsWith("#") }.map { it.split(' ') }
        same(144, vectors.size)
        for ((offset, identifier, metadata) in vectors) {
            val interval = (START + offset.toInt()).toUInt()
            same(identifier, hex(rollingProximityIdentifier(bytes(KEY), interval)))
            same(metadata, hex(associatedEncryptedMetadata(bytes(KEY), interval, bytes(METADATA))))
        }
    },
    "a store of the first version opens with all it holds" to {
        File(ROOT, "core/src/store/tests/version_1.db").copyTo(store)
        holdsAllOfVersion1()
    },
    "a store of the first version opens with all it holds, and is sealed" to {
        File(ROOT, "core/src/store/tests/version_1.db").copyTo(store)
        val vault = MemoryVault()
        open(vault = vault) { _, _ -> }
        // The own key, which lies there in the open.
        same(false, bytes("000102030405060708090a0b0c0d0e0f").toList() in store.readBytes().toList().windowed(16))
        holdsAllOfVersion1(vault)
    },
)

private suspend fun Place.holdsAllOfVersion1(vault: MemoryVault? = null) {
    val radio = FakeRadio()
    open(radio, vault = vault) { vigie, _ ->
        val status = vigie.status()
        same(Triple(3uL, 3uL, 1u), Triple(status.encounters, status.encountersToday, status.ownKeys))
        vigie.start()
        // Of the key that was there, which was sent until now: the interval after it.
        val now = rollingProximityIdentifier(bytes("000102030405060708090a0b0c0d0e0f"), (NOW_MS / 600_000).toUInt())
        same(false, now.toList() == radio.advertisement?.serviceData?.take(16))
    }
}

private fun hex(bytes: ByteArray) = bytes.joinToString("") { "%02x".format(it) }

private fun bytes(hex: String) = hex.chunked(2).map { it.toInt(16).toByte() }.toByteArray()
