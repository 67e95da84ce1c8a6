package vigie.tests

import java.security.GeneralSecurityException
import javax.crypto.Cipher
import javax.crypto.KeyGenerator
import javax.crypto.spec.GCMParameterSpec
import vigie.ffi.KeyVault
import vigie.ffi.VaultException
import vigie.ffi.VaultProblem

/** A vault whose key is gone with it: AES-256-GCM, the nonce in front. */
class MemoryVault : KeyVault {
    private val key = KeyGenerator.getInstance("AES").apply { init(256) }.generateKey()

    /** What it throws, if it does. */
    @Volatile
    var problem: VaultProblem? = null

    override fun wrap(dataKey: ByteArray): ByteArray {
        problem?.let { throw VaultException.Problem(it) }
        val cipher = Cipher.getInstance("AES/GCM/NoPadding").apply { init(Cipher.ENCRYPT_MODE, key) }
        return cipher.iv + cipher.doFinal(dataKey)
    }

    override fun unwrap(wrapped: ByteArray): ByteArray {
        problem?.let { throw VaultException.Problem(it) }
        try {
            val cipher = Cipher.getInstance("AES/GCM/NoPadding")
            cipher.init(Cipher.DECRYPT_MODE, key, GCMParameterSpec(128, wrapped, 0, NONCE))
            return cipher.doFinal(wrapped, NONCE, wrapped.size - NONCE)
        } catch (_: GeneralSecurityException) {
            throw VaultException.Problem(VaultProblem.KEY_LOST)
        } catch (_: IllegalArgumentException) {
            throw VaultException.Problem(VaultProblem.KEY_LOST)
        }
    }

    private companion object {
        const val NONCE = 12
    }
}
