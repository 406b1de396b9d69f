/* What a TLS client can make a server do without sending a byte of data: tls_flood PORT keyupdate|renegotiate SECONDS
 *
 * After the handshake, KeyUpdate messages (TLS 1.3) or attempts to renegotiate (TLS 1.2) without end. Prints how many went
 * out and whether the server ended the connection. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    int updates = !strcmp(argv[2], "keyupdate"), fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (connect(fd, (void *)&to, sizeof to))
        return 1;
    struct timeval limit = { 5, 0 };
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(context, updates ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1)
        return 1;
    time_t end = time(NULL) + atoi(argv[3]);
    long count = 0;
    const char *how = "going on";
    while (time(NULL) < end) {
        int begun = updates ? SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) : SSL_renegotiate(ssl);
        if (begun != 1 || SSL_do_handshake(ssl) != 1) {
            how = "ended";
            break;
        }
        count++;
    }
    printf("%ld %s\n", count, how);
    return 0;
}
