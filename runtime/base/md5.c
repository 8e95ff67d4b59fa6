/* md5.c - see md5.h. */
#include "runtime/base/md5.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

bool tarn_md5_text(const char *first, const char *second, char out[33])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    EVP_MD_CTX *state = EVP_MD_CTX_new();
    bool done = state && EVP_DigestInit_ex(state, EVP_md5(), NULL) == 1 &&
                EVP_DigestUpdate(state, first, strlen(first)) == 1 &&
                EVP_DigestUpdate(state, second, strlen(second)) == 1 &&
                EVP_DigestFinal_ex(state, digest, &length) == 1 && length == 16;
    EVP_MD_CTX_free(state);
    for (unsigned i = 0; done && i < 16; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return done;
}
