/** The vault, over a Keystore that fails as Android's does. */
package vigie.android.tests

import android.security.KeyStoreException
import java.io.InputStream
import java.io.OutputStream
import java.security.Key
import java.security.KeyStoreSpi
import java.security.Provider
import java.security.ProviderException
import java.security.SecureRandom
import java.security.Security
import java.security.UnrecoverableKeyException
import java.security.cert.Certificate
import java.security.spec.AlgorithmParameterSpec
import java.util.Collections
import java.util.Date
import java.util.Enumeration
import javax.crypto.KeyGenerator
import javax.crypto.KeyGeneratorSpi
import javax.crypto.SecretKey
import vigie.android.KeystoreVault
import vigie.ffi.VaultException
import vigie.ffi.VaultProblem

val VAULT_TESTS = listOf<Pair<String, suspend () -> Unit>>(
    "what was wrapped is opened again" to { vault { same(DATA_KEY.toList(), unwrap(wrap(DATA_KEY)).toList()) } },
    "a Keystore that fails for some seconds loses no key" to {
        vault {
            val wrapped = wrap(DATA_KEY)
            FakeKeystore.fails(3) { UnrecoverableKeyException() }
            same(DATA_KEY.toList(), unwrap(wrapped).toList())
        }
    },
    "a key that cannot be read in many tries is lost, and another one is made" to {
        vault {
            val wrapped = wrap(DATA_KEY)
            FakeKeystore.fails(100) { UnrecoverableKeyException() }
            same(VaultProblem.KEY_LOST, problem { unwrap(wrapped) })
            check(FakeKeystore.asked >= 5) { "given up at once" }
            val again = wrap(DATA_KEY)
            same(VaultProblem.KEY_LOST, problem { unwrap(wrapped) })
            same(DATA_KEY.toList(), unwrap(again).toList())
        }
    },
    "what the Keystore says may pass is never a lost key" to {
        vault {
            val wrapped = wrap(DATA_KEY)
            FakeKeystore.fails(100) { UnrecoverableKeyException().apply { initCause(Transient()) } }
            same(VaultProblem.FAILED, problem { unwrap(wrapped) })
            FakeKeystore.fails(1) { ProviderException() }
            same(VaultProblem.FAILED, problem { unwrap(wrapped) })
        }
    },
    "a key that is not there, or did not wrap this, is lost" to {
        vault {
            val wrapped = wrap(DATA_KEY)
            same(VaultProblem.KEY_LOST, problem { unwrap(wrapped.also { it[20] = (it[20] + 1).toByte() }) })
            FakeKeystore.key = null
            same(VaultProblem.KEY_LOST, problem { unwrap(wrapped) })
        }
    },
)

private val DATA_KEY = ByteArray(32) { it.toByte() }

private suspend fun vault(use: suspend KeystoreVault.() -> Unit) {
    Security.addProvider(FakeProvider())
    FakeKeystore.key = null
    FakeKeystore.fails(0) { error("it does not fail") }
    KeystoreVault(FakeSystem()).use()
}

private suspend fun problem(call: suspend () -> Unit): VaultProblem = fails<VaultException.Problem>(call).problem

private class Transient : KeyStoreException() {
    override fun isTransientFailure() = true
}

/** The one key, and how the next attempts to read it fail. */
private object FakeKeystore {
    var key: SecretKey? = null
    var asked = 0
    private var failures = 0
    private var failure: () -> Exception = { error("it does not fail") }

    fun fails(times: Int, with: () -> Exception) {
        asked = 0
        failures = times
        failure = with
    }

    fun read(): SecretKey? {
        asked++
        if (failures-- > 0) throw failure()
        return key
    }

    /** What cannot be read is no more. */
    fun make(): SecretKey = KeyGenerator.getInstance("AES", "SunJCE").apply { init(256) }.generateKey().also {
        key = it
        failures = 0
    }
}

private class FakeProvider : Provider("AndroidKeyStore", "1", "") {
    init {
        put("KeyStore.AndroidKeyStore", FakeKeyStoreSpi::class.java.name)
        put("KeyGenerator.AES", FakeKeyGeneratorSpi::class.java.name)
    }
}

class FakeKeyGeneratorSpi : KeyGeneratorSpi() {
    override fun engineInit(random: SecureRandom?) = Unit

    override fun engineInit(params: AlgorithmParameterSpec?, random: SecureRandom?) = Unit

    override fun engineInit(keysize: Int, random: SecureRandom?) = Unit

    override fun engineGenerateKey(): SecretKey = FakeKeystore.make()
}

class FakeKeyStoreSpi : KeyStoreSpi() {
    override fun engineGetKey(alias: String?, password: CharArray?): Key? = FakeKeystore.read()

    override fun engineLoad(stream: InputStream?, password: CharArray?) = Unit

    override fun engineGetCertificateChain(alias: String?): Array<Certificate>? = null

    override fun engineGetCertificate(alias: String?): Certificate? = null

    override fun engineGetCreationDate(alias: String?): Date? = null

    override fun engineSetKeyEntry(alias: String?, key: Key?, password: CharArray?, chain: Array<Certificate>?) = Unit

    override fun engineSetKeyEntry(alias: String?, key: ByteArray?, chain: Array<Certificate>?) = Unit

    override fun engineSetCertificateEntry(alias: String?, cert: Certificate?) = Unit

    override fun engineDeleteEntry(alias: String?) = Unit

    override fun engineAliases(): Enumeration<String> = Collections.emptyEnumeration()

    override fun engineContainsAlias(alias: String?) = false

    override fun engineSize() = 0

    override fun engineIsKeyEntry(alias: String?) = false

    override fun engineIsCertificateEntry(alias: String?) = false

    override fun engineGetCertificateAlias(cert: Certificate?): String? = null

    override fun engineStore(stream: OutputStream?, password: CharArray?) = Unit
}
