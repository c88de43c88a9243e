set terminal svg size 900,780 font 'sans-serif,13' background rgb 'white'
set output 'chart.svg'
set title 'Time over the limit that memory sets (f32, 2 threads)'
set xlabel 'multiple of the limit; shorter is better' offset 0,0.6
set rmargin 12
set key below center horizontal samplen 2
set logscale x 2
set xrange [0.5:*]
set yrange [21:-1]
set grid xtics lc rgb '#d0d0d0' lt 1
set border 2
set tics nomirror scale 0
set style fill solid noborder
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb '#404040'
set ytics ('infer  nchw 32x256x56x56' 0, 'infer  nchw 32x2048x7x7' 1, 'infer  nhwc 32x512x28x28' 2, 'infer  nhwc 1x64x112x112' 3, 'infer  nc 64x512' 4, 'infer  nc 1024x1024' 5, 'infer  nc 16384x512' 6, 'train  nchw 32x256x56x56' 7, 'train  nchw 32x2048x7x7' 8, 'train  nhwc 32x512x28x28' 9, 'train  nhwc 1x64x112x112' 10, 'train  nc 64x512' 11, 'train  nc 1024x1024' 12, 'train  nc 16384x512' 13, 'backward  nchw 32x256x56x56' 14, 'backward  nchw 32x2048x7x7' 15, 'backward  nhwc 32x512x28x28' 16, 'backward  nhwc 1x64x112x112' 17, 'backward  nc 64x512' 18, 'backward  nc 1024x1024' 19, 'backward  nc 16384x512' 20)
$rows << end_of_rows
0 1.02486 1.36597 "1.02" "1.37 libtorch"
1 1.74386 2.49072 "1.74" "2.49 libtorch"
2 1.03016 1.21811 "1.03" "1.22 oneDNN"
3 1.09417 2.17852 "1.09" "2.18 libtorch"
4 1.71355 4.06861 "1.71" "4.07 oneDNN*"
5 1.04203 2.2684 "1.04" "2.27 libtorch"
6 1.02928 1.1614 "1.03" "1.16 oneDNN*"
7 1.52011 6.78445 "1.52" "6.78 libtorch"
8 3.40507 13.8673 "3.41" "13.87 oneDNN"
9 1.05914 1.48606 "1.06" "1.49 oneDNN"
10 1.03542 1.94697 "1.04" "1.95 oneDNN"
11 4.96475 4.9829 "4.96" "4.98 oneDNN*"
12 1.6998 2.08241 "1.70" "2.08 oneDNN*"
13 1.0403 1.39898 "1.04" "1.40 oneDNN*"
14 0.902298 1.22716 "0.90" "1.23 libtorch"
15 2.57556 9.92486 "2.58" "9.92 libtorch"
16 1.09968 1.37249 "1.10" "1.37 oneDNN"
17 0.985905 1.41211 "0.99" "1.41 oneDNN"
18 4.71701 4.13469 "4.72" "4.13 oneDNN*"
19 1.56648 1.71594 "1.57" "1.72 libtorch"
20 1.16717 1.45193 "1.17" "1.45 libtorch"
end_of_rows
plot $rows using (0.5):($1-0.19):(0.5):2:($1-0.36):($1-0.02) with boxxyerror lc rgb '#0072B2' title 'batchnorm', \
  $rows using (0.5):($1+0.19):(0.5):3:($1+0.02):($1+0.36) with boxxyerror lc rgb '#E69F00' title 'best rival', \
  $rows using 2:($1-0.19):4 with labels left offset 0.4,0 font ',10' notitle, \
  $rows using 3:($1+0.19):5 with labels left offset 0.4,0 font ',10' notitle
