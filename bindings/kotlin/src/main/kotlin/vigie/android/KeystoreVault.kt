package vigie.android

import android.content.Context
import android.os.Build
import android.os.UserManager
import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyPermanentlyInvalidatedException
import android.security.keystore.KeyProperties
import android.security.keystore.UserNotAuthenticatedException
import java.io.IOException
import java.security.GeneralSecurityException
import java.security.KeyStore
import java.security.ProviderException
import java.security.UnrecoverableKeyException
import javax.crypto.AEADBadTagException
import javax.crypto.Cipher
import javax.crypto.KeyGenerator
import javax.crypto.SecretKey
import javax.crypto.spec.GCMParameterSpec
import vigie.ffi.KeyVault
import vigie.ffi.VaultException
import vigie.ffi.VaultProblem

private const val KEYSTORE = "AndroidKeyStore"

/** Bytes of the nonce, which the Keystore chooses, and bits of the tag. */
private const val NONCE_LENGTH = 12
private const val TAG_BITS = 128

/** How often a key that cannot be read is tried, and the time between: for seconds the Keystore may be busy, or beginning anew. */
private const val TRIES = 5
private const val BETWEEN_MS = 1_000L

/**
 * Wraps the store's key with AES-256-GCM under a key that never leaves Android's Keystore: nonce (12 bytes), ciphertext, tag (16 bytes).
 *
 * The key asks for no fingerprint and no unlocked screen, so that tracing goes on in the pocket; before the first unlock after a start of the phone the
 * vault is [locked][VaultProblem.LOCKED]. https://developer.android.com/privacy-and-security/keystore
 */
class KeystoreVault @JvmOverloads constructor(context: Context, private val alias: String = "vigie") : KeyVault {
    private val context = context.applicationContext

    override fun wrap(dataKey: ByteArray): ByteArray = withKeystore { keystore ->
        val cipher = try {
            encryption(key(keystore) ?: newKey())
        } catch (error: GeneralSecurityException) {
            if (!isLost(error)) throw error
            encryption(newKey())
        }
        cipher.iv + cipher.doFinal(dataKey)
    }

    override fun unwrap(wrapped: ByteArray): ByteArray = withKeystore { keystore ->
        if (wrapped.size <= NONCE_LENGTH + TAG_BITS / 8) throw failed(VaultProblem.KEY_LOST)
        val key = key(keystore) ?: throw failed(VaultProblem.KEY_LOST)
        val cipher = Cipher.getInstance(TRANSFORMATION)
        cipher.init(Cipher.DECRYPT_MODE, key, GCMParameterSpec(TAG_BITS, wrapped, 0, NONCE_LENGTH))
        cipher.doFinal(wrapped, NONCE_LENGTH, wrapped.size - NONCE_LENGTH)
    }

    private fun <T> withKeystore(work: (KeyStore) -> T): T {
        val isUnlocked = (context.getSystemService(Context.USER_SERVICE) as UserManager?)?.isUserUnlocked != false
        if (!isUnlocked) throw failed(VaultProblem.LOCKED)
        try {
            return work(KeyStore.getInstance(KEYSTORE).apply { load(null) })
        } catch (_: UserNotAuthenticatedException) {
            throw failed(VaultProblem.LOCKED)
        } catch (error: GeneralSecurityException) {
            throw failed(if (isLost(error)) VaultProblem.KEY_LOST else VaultProblem.FAILED)
        } catch (_: ProviderException) {
            throw failed(VaultProblem.FAILED)
        } catch (_: IOException) {
            throw failed(VaultProblem.FAILED)
        }
    }

    /** None where there is none. A failure that goes on is thrown: what is taken for a lost key is given up for good. */
    private fun key(keystore: KeyStore): SecretKey? {
        repeat(TRIES - 1) {
            try {
                return keystore.getKey(alias, null) as SecretKey?
            } catch (_: UnrecoverableKeyException) {
                Thread.sleep(BETWEEN_MS)
            }
        }
        return keystore.getKey(alias, null) as SecretKey?
    }

    private fun encryption(key: SecretKey): Cipher = Cipher.getInstance(TRANSFORMATION).apply { init(Cipher.ENCRYPT_MODE, key) }

    private fun newKey(): SecretKey {
        val purposes = KeyProperties.PURPOSE_ENCRYPT or KeyProperties.PURPOSE_DECRYPT
        val parameters = KeyGenParameterSpec.Builder(alias, purposes)
            .setBlockModes(KeyProperties.BLOCK_MODE_GCM)
            .setEncryptionPaddings(KeyProperties.ENCRYPTION_PADDING_NONE)
            .setKeySize(256)
            .setUserAuthenticationRequired(false)
            .build()
        return KeyGenerator.getInstance(KeyProperties.KEY_ALGORITHM_AES, KEYSTORE).apply { init(parameters) }.generateKey()
    }

    private fun failed(problem: VaultProblem) = VaultException.Problem(problem)

    private companion object {
        const val TRANSFORMATION = "AES/GCM/NoPadding"
    }
}

/**
 * Whether the key is gone for good, or cannot open this. A key that cannot be read was tried several times; since Android 13 the Keystore says whether that
 * may pass all the same.
 */
private fun isLost(error: GeneralSecurityException): Boolean = when (error) {
    is KeyPermanentlyInvalidatedException, is AEADBadTagException -> true
    is UnrecoverableKeyException -> !mayPass(error.cause)
    else -> false
}

private fun mayPass(cause: Throwable?): Boolean =
    Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU && cause is android.security.KeyStoreException && cause.isTransientFailure
