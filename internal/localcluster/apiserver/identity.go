package apiserver

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// contextName is the cluster, the user and the context in the kubeconfig.
const contextName = "redstart"

// certificateLife is how long a certificate is valid; one that has less than a tenth of it left is replaced at start.
const certificateLife = 10 * 365 * 24 * time.Hour

// identity is the server's certificate and the one bearer token. Both are kept in the state directory, so that a
// kubeconfig stays valid over restarts.
type identity struct {
	cert  tls.Certificate
	ca    []byte // PEM
	token string
}

func loadIdentity(dir string, ip net.IP) (*identity, error) {
	token, err := loadToken(filepath.Join(dir, "token"))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "server.pem")
	pair, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the server's certificate: %w", err)
	}
	if err == nil {
		if id, ok := parseIdentity(pair, ip, token); ok {
			return id, nil
		}
	}
	if pair, err = newCertificate(ip); err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	if err := writeFile(path, pair); err != nil {
		return nil, fmt.Errorf("keep the server's certificate: %w", err)
	}
	id, ok := parseIdentity(pair, ip, token)
	if !ok {
		return nil, fmt.Errorf("the new certificate in %s is not valid for %s", path, ip)
	}
	return id, nil
}

// parseIdentity reports false for a certificate that is broken, nearly over, or for another address.
func parseIdentity(pair []byte, ip net.IP, token string) (*identity, bool) {
	cert, err := tls.X509KeyPair(pair, pair)
	if err != nil || cert.Leaf == nil {
		return nil, false
	}
	if cert.Leaf.VerifyHostname(ip.String()) != nil || time.Until(cert.Leaf.NotAfter) < certificateLife/10 {
		return nil, false
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	return &identity{cert: cert, ca: ca, token: token}, true
}

// newCertificate makes a self-signed certificate; the answer is the certificate and the key in PEM.
func newCertificate(ip net.IP) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: contextName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{ip}, DNSNames: []string{"localhost"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: cert}); err != nil {
		return nil, err
	}
	err = pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return out.Bytes(), err
}

func loadToken(path string) (string, error) {
	const tokenBytes = 32
	b, err := os.ReadFile(path)
	if err == nil && len(b) == hex.EncodedLen(tokenBytes) {
		return string(b), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the token: %w", err)
	}
	raw := make([]byte, tokenBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	token := hex.EncodeToString(raw)
	if err := writeFile(path, []byte(token)); err != nil {
		return "", fmt.Errorf("keep the token: %w", err)
	}
	return token, nil
}

// writeFile writes a file that only its owner may read, whole or not at all.
func writeFile(path string, content []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// kubeconfig is the file that kubectl and our own command line use.
func (id *identity) kubeconfig(server string) ([]byte, error) {
	c := clientcmdapi.NewConfig()
	c.Clusters[contextName] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: id.ca, DisableCompression: true}
	c.AuthInfos[contextName] = &clientcmdapi.AuthInfo{Token: id.token}
	c.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: contextName, Namespace: "default"}
	c.CurrentContext = contextName
	return clientcmd.Write(*c)
}
