// The control server, from an interpreter's side.

import Foundation
#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// The backend of the scenario, and what moves it.
struct Control {
    let url: String

    func get(_ path: String) async throws -> String {
        try await ask(path, method: "GET")
    }

    @discardableResult
    func post(_ path: String) async throws -> String {
        try await ask(path, method: "POST")
    }

    /// Milliseconds since 1970 by the backend's clock.
    func now() async throws -> Int64 {
        let text = try await get("/now")
        guard let now = Int64(text) else { throw Failure("no time: \(text)") }
        return now
    }

    private func ask(_ path: String, method: String) async throws -> String {
        guard let address = URL(string: url + path) else { throw Failure("no address: \(path)") }
        var request = URLRequest(url: address)
        request.httpMethod = method
        let message = request
        return try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<String, Error>) in
            URLSession.shared.dataTask(with: message) { data, response, error in
                let text = String(decoding: data ?? Data(), as: UTF8.self)
                if let error {
                    continuation.resume(throwing: error)
                } else if (response as? HTTPURLResponse)?.statusCode == 200 {
                    continuation.resume(returning: text)
                } else {
                    continuation.resume(throwing: Failure("\(path): \(text)"))
                }
            }.resume()
        }
    }
}
