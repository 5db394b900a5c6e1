package scale_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/config/crd"
	"redstart.dev/redstart/internal/install"
)

// controlPlane is etcd, an API server and the workload controllers, on loopback alone.
type controlPlane struct {
	t      *testing.T
	dir    string
	config *rest.Config // of the administrator
	scheme *runtime.Scheme
	client client.Client
	// operatorConfig is the kubeconfig of the operator's ServiceAccount.
	operatorConfig string
}

func newControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	p := &controlPlane{t: t, dir: t.TempDir(), scheme: runtime.NewScheme()}
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, v1alpha1.AddToScheme} {
		p.must(add(p.scheme))
	}
	etcd, peers := "http://"+freeAddress(t), "http://"+freeAddress(t)
	start(t, "etcd", p.log("etcd"), program(t, "etcd"), "--name=scale", "--data-dir="+p.file("etcd"), "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=scale="+peers)
	p.startAPI(etcd)
	admin := p.kubeconfig("admin", p.config.BearerToken)
	start(t, "kube-controller-manager", p.log("controllers"), program(t, "kube-controller-manager"),
		"--kubeconfig="+admin, "--leader-elect=false", "--secure-port=0", "--kube-api-qps=400", "--kube-api-burst=800",
		"--service-account-private-key-file="+p.file("sa.key"),
		// No nodes, no endpoints: addresses on loopback may not be in an EndpointSlice.
		"--controllers=deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,garbage-collector-controller,"+
			"disruption-controller,serviceaccount-controller,namespace-controller")
	p.installOperator()
	for i := range namespaces {
		p.must(p.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOf(i)}}))
	}
	return p
}

// startAPI starts the API server and waits until it is ready.
func (p *controlPlane) startAPI(etcd string) {
	p.t.Helper()
	secret := make([]byte, 16)
	rand.Read(secret)
	token := hex.EncodeToString(secret)
	p.must(os.WriteFile(p.file("tokens.csv"), []byte(token+`,admin,admin,"system:masters"`+"\n"), 0o600))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	p.must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	p.must(err)
	p.must(os.WriteFile(p.file("sa.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	p.must(err)
	p.must(os.WriteFile(p.file("sa.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600))

	address := freeAddress(p.t)
	_, port, err := net.SplitHostPort(address)
	p.must(err)
	start(p.t, "kube-apiserver", p.log("apiserver"), program(p.t, "kube-apiserver"), "--etcd-servers="+etcd,
		"--bind-address=127.0.0.1", "--secure-port="+port, "--cert-dir="+p.file("certificates"), "--token-auth-file="+p.file("tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+p.file("sa.pub"),
		"--service-account-signing-key-file="+p.file("sa.key"), "--service-cluster-ip-range=10.0.0.0/16",
		"--authorization-mode=RBAC", "--endpoint-reconciler-type=none")
	p.config = &rest.Config{
		Host: "https://" + address, BearerToken: token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(p.file("certificates"), "apiserver.crt")},
	}
	eventually(p.t, "the API server is ready", 5*time.Minute, func(ctx context.Context) error {
		if _, err := os.Stat(p.config.CAFile); err != nil {
			return err
		}
		c, err := client.New(p.config, client.Options{Scheme: p.scheme})
		if err != nil {
			return err
		}
		p.client = c
		if err := c.Get(ctx, client.ObjectKey{Name: "kube-system"}, &corev1.Namespace{}); err != nil {
			return err
		}
		// The controllers end by themselves where the roles of the cluster are not there yet.
		discover, err := discovery.NewDiscoveryClientForConfig(p.config)
		if err != nil {
			return err
		}
		return discover.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// installOperator makes what the operator needs but its pod, and a kubeconfig with its own rights and no others.
func (p *controlPlane) installOperator() {
	p.t.Helper()
	definitions, err := crd.All()
	p.must(err)
	for _, d := range definitions {
		p.must(p.client.Create(p.t.Context(), d))
	}
	o := install.Options{Namespace: install.DefaultNamespace, Image: "redstart", Replicas: 1}
	p.must(p.client.Create(p.t.Context(), install.Namespace(o)))
	for _, object := range install.Objects(o) {
		if object.GetObjectKind().GroupVersionKind().Kind != "Deployment" {
			p.must(p.client.Create(p.t.Context(), object))
		}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: install.Name, Namespace: install.DefaultNamespace}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](24 * 3600)}}
	p.must(p.client.SubResource("token").Create(p.t.Context(), account, request))
	p.operatorConfig = p.kubeconfig("operator", request.Status.Token)
	eventually(p.t, "the kinds are served", time.Minute, func(ctx context.Context) error {
		if err := p.client.List(ctx, &v1alpha1.RedisList{}); err != nil {
			return err
		}
		return p.client.List(ctx, &v1alpha1.RolloutList{})
	})
}

// kubeconfig writes one, and returns its file.
func (p *controlPlane) kubeconfig(name, token string) string {
	p.t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["scale"] = &clientcmdapi.Cluster{Server: p.config.Host, CertificateAuthority: p.config.CAFile}
	c.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	c.Contexts[name] = &clientcmdapi.Context{Cluster: "scale", AuthInfo: name}
	c.CurrentContext = name
	file := p.file(name + ".kubeconfig")
	p.must(clientcmd.WriteToFile(*c, file))
	return file
}

func (p *controlPlane) file(name string) string { return filepath.Join(p.dir, name) }
func (p *controlPlane) log(name string) string  { return p.file(name + ".log") }

func (p *controlPlane) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// count lists objects and tells how many are not as wanted.
func (p *controlPlane) count(ctx context.Context, list client.ObjectList, ok func(runtime.Object) bool) error {
	if err := p.client.List(ctx, list); err != nil {
		return err
	}
	n, bad := 0, 0
	err := meta.EachListItem(list, func(o runtime.Object) error {
		n++
		if !ok(o) {
			bad++
		}
		return nil
	})
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d of %d are not", bad, n)
	}
	return err
}
