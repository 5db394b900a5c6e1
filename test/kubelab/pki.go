package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// identities are all that speak to the API server with a token: the file of the kubeconfig, the user, the group.
func identities() [][3]string {
	all := [][3]string{
		{"admin", "admin", "system:masters"},
		{"controllers", "system:kube-controller-manager", ""},
		{"scheduler", "system:kube-scheduler", ""},
		{"proxy", "system:kube-proxy", "system:node-proxier"},
	}
	for i := 1; i <= maxNodes; i++ {
		all = append(all, [3]string{nodeName(i), "system:node:" + nodeName(i), "system:nodes"})
	}
	return all
}

// authority signs the certificates of one run of the lab.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// makePKI makes all keys, certificates, tokens and kubeconfigs anew.
func (l *lab) makePKI() error {
	if err := os.MkdirAll(l.pki(), 0o700); err != nil {
		return fmt.Errorf("make the directory of the keys: %w", err)
	}
	ca, err := newAuthority(l.pki())
	if err != nil {
		return fmt.Errorf("make the certificate authority: %w", err)
	}
	server := x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterName, "localhost",
		},
		IPAddresses: []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP(controlIP), net.ParseIP(apiService)},
	}
	client := func(name string, groups ...string) x509.Certificate {
		return x509.Certificate{
			Subject: pkix.Name{CommonName: name, Organization: groups}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
	}
	for name, template := range map[string]x509.Certificate{
		"apiserver": server, "front-proxy": client("front-proxy-client"),
		"kubelet-client": client("kube-apiserver-kubelet-client", "system:masters"),
	} {
		if err := ca.issue(name, template); err != nil {
			return fmt.Errorf("issue the certificate %s: %w", name, err)
		}
	}
	if err := serviceAccountKey(l.pki()); err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	return l.makeKubeconfigs()
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := x509.Certificate{
		Subject: pkix.Name{CommonName: "kubelab"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	ca := &authority{dir: dir, key: key, cert: &template}
	if err := ca.sign("ca", template, key); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("ca.crt holds no certificate")
	}
	ca.cert, err = x509.ParseCertificate(block.Bytes)
	return ca, err
}

// issue makes a key and a certificate NAME.key, NAME.crt.
func (a *authority) issue(name string, template x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	return a.sign(name, template, key)
}

func (a *authority) sign(name string, template x509.Certificate, key crypto.Signer) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(a.dir, name+".crt"), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(filepath.Join(a.dir, name+".key"), key)
}

func writeKey(file string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file, "PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func serviceAccountKey(dir string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, "sa.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, "sa.key"), key)
}

// makeKubeconfigs gives every identity a token and a kubeconfig.
func (l *lab) makeKubeconfigs() error {
	ca, err := os.ReadFile(filepath.Join(l.pki(), "ca.crt"))
	if err != nil {
		return fmt.Errorf("read the certificate authority: %w", err)
	}
	var tokens strings.Builder
	for _, id := range identities() {
		secret := make([]byte, 16)
		if _, err := rand.Read(secret); err != nil {
			return fmt.Errorf("make a token: %w", err)
		}
		token := hex.EncodeToString(secret)
		_, _ = fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", token, id[1], id[1], id[2])
		type named = map[string]any
		b, err := json.Marshal(named{
			"apiVersion": "v1", "kind": "Config", "current-context": "kubelab",
			"clusters": []named{{"name": "kubelab", "cluster": named{"server": apiServer, "certificate-authority-data": ca}}},
			"users":    []named{{"name": id[0], "user": named{"token": token}}},
			"contexts": []named{{"name": "kubelab", "context": named{"cluster": "kubelab", "user": id[0]}}},
		})
		if err != nil {
			return fmt.Errorf("encode the kubeconfig of %s: %w", id[0], err)
		}
		file := l.kubeconfigOf(id[0])
		if id[0] == "admin" {
			file = l.kubeconfig()
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			return fmt.Errorf("write the kubeconfig of %s: %w", id[0], err)
		}
	}
	if err := os.WriteFile(filepath.Join(l.pki(), "tokens.csv"), []byte(tokens.String()), 0o600); err != nil {
		return fmt.Errorf("write the tokens: %w", err)
	}
	return nil
}

func (l *lab) kubeconfigOf(identity string) string {
	return filepath.Join(l.pki(), identity+".kubeconfig")
}
